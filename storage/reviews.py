"""Reviews that gates opened, read from the events of a run; their deadlines; and the actors that were served them.

A decision that names no digest counts for a review that its actor was served. Every entry point that sends the content
of a review records it before it sends it: here, or with the run that it reads. A review link needs no record: it
carries the digest. A refusal records nothing, although it contains the current content: a client that repeats its
request must not decide about what no person has read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from storage.actors import Actor
from storage.database import Connection, Database, fetch_all, read_statements
from storage.events import Event, record_event


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


sql = read_statements("reviews")
SERVED_FIELDS = ("gate", "revision", "digest")


@dataclass(frozen=True)
class OpenGate:
    """A gate that is open, with the title of what it presents."""

    run_id: UUID
    gate: str
    title: str
    opened_at: datetime


async def list_gates_opened_since(db: Database, run_ids: Sequence[str], since: datetime) -> list[OpenGate]:
    """Return the gates of these runs that opened after this time and are still open, in their order."""
    return await db.fetch_all(sql["opened_since"], ([UUID(each) for each in run_ids], since), row=OpenGate)


async def list_reviews(db: Database, run_id: UUID | str) -> list[ReviewRow]:
    """Return the reviews of a run in the order in which they were opened."""
    return await db.fetch_all(sql["opened"], {"run_id": run_id}, row=ReviewRow)


async def record_served(db: Database, actor: Actor, run_id: UUID | str, opened: Iterable[Mapping[str, Any]]) -> None:
    """Record that the actor is served these reviews of a run, each with `gate`, `revision` and `digest`."""
    rows = [{"run_id": str(run_id), **{name: each[name] for name in SERVED_FIELDS}} for each in opened]
    if rows:
        await db.execute(sql["record_served"], (actor.id, Jsonb(rows)))


async def record_served_events(db: Database, actor: Actor, run_id: UUID, events: Iterable[Event]) -> None:
    """Record that the actor is served these events of a run: an opened review is one of them."""
    await record_served(db, actor, run_id, (event.payload for event in events if event.kind == "review.opened"))


async def was_served(db: Database, actor: Actor, run_id: UUID, review: Mapping[str, Any]) -> bool:
    """Return whether the actor was served exactly this review."""
    return await db.fetch_one(sql["was_served"], {**review, "actor_id": actor.id, "run_id": run_id}) is not None


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


async def set_deadline(
    conn: Connection, run_id: UUID, gate: str, revision: int, *, opened_at: datetime, after: timedelta, on_due: str
) -> datetime:
    """Set the deadline of a review and return its due time. A review that has a deadline keeps it."""
    due_at = opened_at + after
    [row] = await fetch_all(conn, sql["set"], (run_id, gate, revision, due_at, after, on_due, due_at))
    kept: datetime = row["due_at"]
    return kept


async def claim_due_deadlines(db: Database, *, rejected_within: timedelta) -> list[DeadlineRow]:
    """Return the deadlines that are due, set the next due time of each, and record the reminders of open reviews.

    Another caller gets a review to reject that is still open after `rejected_within`.
    """
    async with db.transaction() as conn:
        claimed = await fetch_all(conn, sql["claim_due"], (rejected_within,), row=DeadlineRow)
        for due in claimed:
            if due.still_open and (kind := EVENT_KINDS.get(due.on_due)):
                review = {name: getattr(due, name) for name in ("gate", "revision", "digest")}
                payload = {**review, "due_at": due.due_at.isoformat(), "times": due.times_due}
                # Once per due time.
                event_id = f"{kind}:{due.run_id}:{due.gate}:{due.revision}:{due.times_due}"
                await record_event(conn, "deadline", kind, due.run_id, payload, dedup_key=event_id)
    return claimed
