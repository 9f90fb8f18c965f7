"""Reviews that gates opened, read from the events of a run; their deadlines; and the actors that were served them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from storage.database import Connection, Database, fetch_all
from storage.events import record_event


@dataclass(frozen=True)
class ReviewRow:
    """A review that was opened."""

    gate: str
    revision: int
    digest: str
    content: dict[str, Any]
    requested: list[dict[str, Any]]
    opened_at: datetime
    #: None without a deadline, and while the review is `just_opened`: its deadline is stored a moment later.
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


#: The event of a deadline that is due, by what is to be done then.
EVENT_KINDS = {"remind": "review.reminded", "escalate": "review.escalated"}


@dataclass(frozen=True)
class DeadlineRow:
    """A deadline that is due. `digest` is that of the review that the run has open."""

    run_id: UUID
    gate: str
    revision: int
    #: The first due time, and the time between one and the next.
    due_at: datetime
    repeat_every: timedelta
    #: "remind", "escalate" or "reject".
    on_due: str
    #: How many due times have been announced, this one included.
    times_due: int
    digest: str | None
    #: Whether the review waits for its decision.
    still_open: bool


SET = """
insert into review_deadlines as d (run_id, gate, revision, due_at, repeat_every, on_due, next_at)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (run_id, gate, revision) do update set next_at = coalesce(d.next_at, greatest(d.due_at, now()))
returning due_at
"""


async def set_deadline(
    conn: Connection, run_id: UUID, gate: str, revision: int, *, opened_at: datetime, after: timedelta, on_due: str
) -> datetime:
    """Set the deadline of a review and return its due time. A review that has a deadline keeps it."""
    due_at = opened_at + after
    [row] = await fetch_all(conn, SET, (run_id, gate, revision, due_at, after, on_due, due_at))
    kept: datetime = row["due_at"]
    return kept


# `skip locked` gives concurrent sweepers different rows. The next due time is in the future even after a long downtime.
CLAIM_DUE = """
with due as (
    select d.*, runs.review ->> 'digest' as digest, coalesce(
        runs.review ->> 'gate' = d.gate and (runs.review ->> 'revision')::int = d.revision, false) as still_open
    from review_deadlines as d join runs on runs.id = d.run_id
    where d.next_at <= now() order by d.next_at limit 50 for update of d skip locked)
update review_deadlines as d set
    times_due = d.times_due + (still_open and d.on_due <> 'reject')::int,
    next_at = case when not still_open then null when d.on_due = 'reject' then now() + %s
        else d.due_at + d.repeat_every
            * (floor(extract(epoch from now() - d.due_at) / extract(epoch from d.repeat_every)) + 1) end
from due where (d.run_id, d.gate, d.revision) = (due.run_id, due.gate, due.revision)
returning d.run_id, d.gate, d.revision, d.due_at, d.repeat_every, d.on_due, d.times_due, digest, still_open
"""


async def claim_due_deadlines(db: Database, *, rejected_within: timedelta) -> list[DeadlineRow]:
    """Return the deadlines that are due, set the next due time of each, and record the reminders of open reviews.

    Another caller gets a review to reject that is still open after `rejected_within`.
    """
    async with db.transaction() as conn:
        claimed = await fetch_all(conn, CLAIM_DUE, (rejected_within,), row=DeadlineRow)
        for due in claimed:
            if due.still_open and due.on_due in EVENT_KINDS:
                await _record_reminder(conn, due, EVENT_KINDS[due.on_due])
    return claimed


async def _record_reminder(conn: Connection, due: DeadlineRow, kind: str) -> None:
    review = {name: getattr(due, name) for name in ("gate", "revision", "digest")}
    payload = {**review, "due_at": due.due_at.isoformat(), "times": due.times_due}
    # Once per due time.
    event_id = f"{kind}:{due.run_id}:{due.gate}:{due.revision}:{due.times_due}"
    await record_event(conn, "deadline", kind, due.run_id, payload, dedup_key=event_id)
