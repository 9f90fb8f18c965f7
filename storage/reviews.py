"""Reviews that gates opened, read from the events of a run."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.database import Database


@dataclass(frozen=True)
class ReviewRow:
    """A review that was opened.

    `due_at` and `on_due` are None for a gate without a deadline, and while the review is `just_opened`: its deadline
    is stored a moment later.
    """

    gate: str
    revision: int
    digest: str
    content: dict[str, Any]
    requested: list[dict[str, Any]]
    opened_at: datetime
    due_at: datetime | None
    on_due: str | None
    just_opened: bool


# A run that returns to an undecided gate opens the same revision again: the newest event counts.
OPENED = """
with opened as (
    select payload ->> 'gate' as gate, (payload ->> 'revision')::int as revision, payload ->> 'digest' as digest,
           payload -> 'content' as content, coalesce(payload -> 'requested', '[]') as requested,
           created_at as opened_at, seq, id,
           row_number() over (partition by payload ->> 'gate', payload ->> 'revision' order by seq desc) as newest
    from events where run_id = %(run_id)s and kind = 'review.opened')
select opened.gate, opened.revision, digest, content, requested, opened_at, due_at, on_due,
       exists (select from outbox where event = opened.id) as just_opened
from opened left join review_deadlines as d
    on d.run_id = %(run_id)s and d.gate = opened.gate and d.revision = opened.revision
where newest = 1 order by seq
"""


async def list_reviews(db: Database, run_id: UUID | str) -> list[ReviewRow]:
    """Return the reviews of a run in the order in which they were opened."""
    return await db.fetch_all(OPENED, {"run_id": run_id}, row=ReviewRow)
