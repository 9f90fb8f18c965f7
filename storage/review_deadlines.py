"""Deadlines of reviews: when an open review is due, and what happens then."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from storage.database import Connection, fetch_all
from storage.events import record_event


@dataclass(frozen=True)
class DeadlineRow:
    """A deadline that is due.

    Attributes:
        run_id: The run of the review.
        gate: "ideation" or "publish".
        revision: The revision of the review.
        due_at: The first due time.
        repeat_every: The time between the first due time and the next one.
        on_due: "remind", "escalate" or "reject".
        times_due: How many due times have passed before this one.
        digest: The digest of the review that the run has open.
        still_open: Whether the review waits for its decision.
    """

    run_id: UUID
    gate: str
    revision: int
    due_at: datetime
    repeat_every: timedelta
    on_due: str
    times_due: int
    digest: str | None
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


# `skip locked` gives concurrent sweepers different rows.
CLAIM_DUE = """
select d.run_id, d.gate, d.revision, d.due_at, d.repeat_every, d.on_due, d.times_due,
       runs.review ->> 'digest' as digest,
       coalesce(runs.review ->> 'gate' = d.gate and (runs.review ->> 'revision')::int = d.revision, false) as still_open
from review_deadlines as d join runs on runs.id = d.run_id
where d.next_at <= now() order by d.next_at limit %s for update of d skip locked
"""


async def claim_due(conn: Connection, *, limit: int = 50) -> list[DeadlineRow]:
    """Return the deadlines that are due, locked until the end of the caller's transaction."""
    return await fetch_all(conn, CLAIM_DUE, (limit,), row=DeadlineRow)


OF_REVIEW: LiteralString = " where run_id = %(run_id)s and gate = %(gate)s and revision = %(revision)s"


async def advance_deadline(conn: Connection, due: DeadlineRow) -> None:
    """Set the next due time of a review, which is in the future even after a long downtime."""
    update: LiteralString = """update review_deadlines set times_due = times_due + 1, next_at = due_at + repeat_every
        * (floor(extract(epoch from now() - due_at) / extract(epoch from repeat_every)) + 1)"""
    await conn.execute(update + OF_REVIEW, vars(due))


async def reschedule(conn: Connection, due: DeadlineRow, after: timedelta | None) -> None:
    """Process the same due time again after a while; never, if it is None."""
    update: LiteralString = "update review_deadlines set next_at = now() + %(after)s::interval"
    await conn.execute(update + OF_REVIEW, vars(due) | {"after": after})


async def record_reminder(conn: Connection, due: DeadlineRow, kind: str) -> None:
    """Record that a review is overdue, once per due time. `kind` is review.reminded or review.escalated."""
    times = due.times_due + 1
    review = {name: getattr(due, name) for name in ("gate", "revision", "digest")}
    payload = {**review, "due_at": due.due_at.isoformat(), "times": times}
    event_id = f"{kind}:{due.run_id}:{due.gate}:{due.revision}:{times}"
    await record_event(conn, source="deadline", kind=kind, run_id=due.run_id, payload=payload, dedup_key=event_id)
