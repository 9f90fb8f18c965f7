"""Deadlines of reviews: when an open review is due, and what happens then."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from storage.database import Connection, fetch_all
from storage.events import record_event

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


async def claim_due(conn: Connection, *, rejected_within: timedelta) -> list[DeadlineRow]:
    """Return the deadlines that are due, and set the next due time of each in the caller's transaction.

    Another caller gets a review to reject that is still open after `rejected_within`.
    """
    return await fetch_all(conn, CLAIM_DUE, (rejected_within,), row=DeadlineRow)


async def record_reminder(conn: Connection, due: DeadlineRow) -> None:
    """Record that a review is overdue, once per due time."""
    kind = EVENT_KINDS[due.on_due]
    review = {name: getattr(due, name) for name in ("gate", "revision", "digest")}
    payload = {**review, "due_at": due.due_at.isoformat(), "times": due.times_due}
    event_id = f"{kind}:{due.run_id}:{due.gate}:{due.revision}:{due.times_due}"
    await record_event(conn, source="deadline", kind=kind, run_id=due.run_id, payload=payload, dedup_key=event_id)
