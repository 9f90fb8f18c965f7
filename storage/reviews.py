"""The reviews that gates opened: what each showed, when it was due, and what was decided."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from storage.database import Connection, Database
from storage.events import record_event


class ReviewRow(TypedDict):
    """A review that was opened. `due_at` and `on_due` are None for a gate without a deadline, and for a moment
    after it was `just_opened`: then its due time is still to be written down."""

    gate: str
    revision: int
    digest: str
    content: dict[str, Any]
    opened_at: datetime
    due_at: datetime | None
    on_due: str | None
    just_opened: bool


class DeadlineRow(TypedDict):
    """A due time that has come. `still_open` is whether the review waits for its decision yet."""

    run_id: UUID
    gate: str
    revision: int
    due_at: datetime
    every: timedelta
    on_due: str
    acted: int
    digest: str | None
    still_open: bool


# A gate that a run comes back to, undecided, opens the same revision again: the last time counts.
OPENED = """
with opened as (
    select payload ->> 'gate' as gate, (payload ->> 'revision')::int as revision, payload ->> 'digest' as digest,
           payload -> 'content' as content, created_at as opened_at, seq, id,
           row_number() over (partition by payload ->> 'gate', payload ->> 'revision' order by seq desc) as newest
    from events where run_id = %(run_id)s and kind = 'review.opened')
select opened.gate, opened.revision, digest, content, opened_at, due_at, on_due,
       exists (select from untold where event = opened.id) as just_opened
from opened left join review_deadlines as d
    on d.run_id = %(run_id)s and d.gate = opened.gate and d.revision = opened.revision
where newest = 1 order by seq
"""


async def list_reviews(db: Database, run_id: UUID | str) -> list[ReviewRow]:
    """Every review of a run, in the order in which they were opened."""
    rows = await db.fetch_all(OPENED, {"run_id": run_id})
    return [ReviewRow(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys


async def set_deadline(
    conn: Connection, run_id: UUID, gate: str, revision: int, *, opened_at: datetime, after: timedelta, on_due: str
) -> datetime:
    """Give a review its due time, in the caller's transaction. One that has a due time keeps it; gives that back."""
    cursor = await conn.execute(
        """insert into review_deadlines as d (run_id, gate, revision, due_at, every, on_due, next_at)
        values (%(run_id)s, %(gate)s, %(revision)s, %(due_at)s, %(every)s, %(on_due)s, %(due_at)s)
        on conflict (run_id, gate, revision) do update set next_at = coalesce(d.next_at, greatest(d.due_at, now()))
        returning due_at""",
        {
            "run_id": run_id,
            "gate": gate,
            "revision": revision,
            "due_at": opened_at + after,
            "every": after,
            "on_due": on_due,
        },
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - it was put there
    due_at: datetime = row["due_at"]
    return due_at


# Several sweepers may look at once: each takes other rows.
COME = """
select d.run_id, d.gate, d.revision, d.due_at, d.every, d.on_due, d.acted, runs.review ->> 'digest' as digest,
       coalesce(runs.review ->> 'gate' = d.gate and (runs.review ->> 'revision')::int = d.revision, false) as still_open
from review_deadlines as d join runs on runs.id = d.run_id
where d.next_at <= now() order by d.next_at limit %s for update of d skip locked
"""


async def claim_due(conn: Connection, *, limit: int = 50) -> list[DeadlineRow]:
    """The due times that have come, held for the caller's transaction."""
    rows = await (await conn.execute(COME, (limit,))).fetchall()
    return [DeadlineRow(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys


async def advance_deadline(conn: Connection, due: DeadlineRow) -> None:
    """Go on to the next due time of a review, which lies ahead even after a long standstill."""
    await conn.execute(
        """update review_deadlines set acted = acted + 1,
            next_at = due_at + every * (floor(extract(epoch from now() - due_at) / extract(epoch from every)) + 1)
        where run_id = %(run_id)s and gate = %(gate)s and revision = %(revision)s""",
        due,
    )


async def reschedule(conn: Connection, due: DeadlineRow, after: timedelta) -> None:
    """Come back to the same due time after a while, if the review is open yet."""
    await conn.execute(
        "update review_deadlines set next_at = now() + %(after)s"
        " where run_id = %(run_id)s and gate = %(gate)s and revision = %(revision)s",
        {**due, "after": after},
    )


async def close_deadline(conn: Connection, due: DeadlineRow) -> None:
    """Look at the due time of a review no more."""
    await conn.execute(
        "update review_deadlines set next_at = null where run_id = %(run_id)s and gate = %(gate)s"
        " and revision = %(revision)s",
        due,
    )


async def record_reminder(conn: Connection, due: DeadlineRow, kind: str) -> None:
    """Tell the feed that a review is overdue: `review.reminded` or `review.escalated`, once for each due time."""
    times = due["acted"] + 1
    await record_event(
        conn,
        source="deadline",
        external_id=f"{kind}:{due['run_id']}:{due['gate']}:{due['revision']}:{times}",
        kind=kind,
        run_id=due["run_id"],
        payload={
            "gate": due["gate"],
            "revision": due["revision"],
            "digest": due["digest"],
            "due_at": due["due_at"].isoformat(),
            "times": times,
        },
    )
