"""Reviews that gates opened, read from the events of a run, and the actors that were served them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

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


@dataclass(frozen=True)
class ServedReview:
    """A revision with its content, as it was served to an actor."""

    run_id: UUID
    gate: str
    revision: int
    digest: str


# A revision that this actor was served before is not written again.
RECORD_SERVED = """
insert into served_reviews (actor_id, run_id, gate, revision, digest)
select %s, served.* from jsonb_to_recordset(%s) as served (run_id uuid, gate text, revision integer, digest text)
on conflict do nothing
"""
WAS_SERVED = """
select 1 from served_reviews where actor_id = %(actor_id)s
    and run_id = %(run_id)s and gate = %(gate)s and revision = %(revision)s and digest = %(digest)s
"""

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


async def record_served(db: Database, actor_id: str, served: Sequence[ServedReview]) -> None:
    """Record that the actor was served these reviews, each once."""
    if served:
        rows = [asdict(review) | {"run_id": str(review.run_id)} for review in served]
        await db.execute(RECORD_SERVED, (actor_id, Jsonb(rows)))


async def was_served(db: Database, actor_id: str, review: ServedReview) -> bool:
    """Return whether the actor was served exactly this review."""
    return await db.fetch_one(WAS_SERVED, {"actor_id": actor_id, **asdict(review)}) is not None
