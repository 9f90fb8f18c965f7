"""Runs: the request of each, and the projection of its progress."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

from storage.actors import ClaimedUser, RequestContext
from storage.database import Database, fetch_one, from_now, insert
from storage.events import record_event
from storage.spending import OF_RUN, Costs

#: The sweeper sends a wake-up again if it had no effect within this time.
WAKEUP_TIMEOUT = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run to create. `forked_from` and `seed`, the initial state channels of its thread, are set for a fork."""

    id: UUID
    project: str
    brief: str
    options: dict[str, int]
    metadata: dict[str, str]
    cap_usd: Decimal
    forked_from: UUID | None = None
    seed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """The progress of a run, as its thread shows it.

    Attributes:
        status: The status of the run.
        current_step: The node that runs or ran last.
        revision: The revision of the review that is open, or was open last.
        review: The open review as JSON.
        artifacts: The results so far as JSON.
        error: Code, message and `retryable` of a failed run.
        attempts: Consecutive attempts that met an unavailable provider.
    """

    status: str
    current_step: str | None
    revision: int
    review: dict[str, Any] | None
    artifacts: dict[str, Any]
    error: dict[str, Any] | None = None
    attempts: int = 0


@dataclass(frozen=True)
class Projection(Progress):
    """The progress of a run to save.

    Attributes:
        wake_in: When the sweeper wakes the run; None if an event will.
        event: Kind and payload of an event to record in the same transaction.
    """

    wake_in: timedelta | None = None
    event: tuple[str, dict[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class RunRow(NewRun, Progress):
    """A row of `runs`."""

    actor_kind: str
    actor_id: str
    actor_name: str
    claimed_user: ClaimedUser | None
    channel: str
    driver: str | None
    next_wakeup_at: datetime | None
    last_seq: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class RunWithCosts(RunRow, Costs):
    """A row of `runs` with the costs of its orders."""


async def create_run(db: Database, new: NewRun, context: RequestContext) -> bool:
    """Create a run and return whether it is new; an existing run of this id is left as it is."""
    values = {**vars(new), **context.columns(), "next_wakeup_at": from_now(WAKEUP_TIMEOUT)}
    payload: dict[str, object] = {"project": new.project, "actor": context.actor.as_json()}
    if new.forked_from:
        payload["forked_from"] = str(new.forked_from)
    async with db.transaction() as conn:
        if not await insert(conn, "runs", values):
            return False
        await record_event(conn, source=context.channel, kind="run.started", run_id=new.id, payload=payload)
    return True


async def get_run(db: Database, run_id: UUID | str) -> RunRow | None:
    """Return the run, or None."""
    return await db.fetch_one("select * from runs where id = %s", (run_id,), row=RunRow)


async def last_sequence_numbers(db: Database, run_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the `seq` of the newest event of each of these runs."""
    rows = await db.fetch_all("select id, last_seq from runs where id = any(%s)", (list(run_ids),))
    return {row["id"]: row["last_seq"] for row in rows}


WITH_COSTS: LiteralString = f"select runs.*, costs.* from runs cross join lateral ({OF_RUN} runs.id::text) as costs"  # noqa: S608 - SQL


async def get_run_with_costs(db: Database, run_id: UUID | str) -> RunWithCosts | None:
    """Return the run with its costs, or None."""
    return await db.fetch_one(f"{WITH_COSTS} where id = %s", (run_id,), row=RunWithCosts)


async def list_runs(
    db: Database,
    *,
    limit: int,
    before: tuple[datetime, UUID] | None = None,
    status: str | None = None,
    project: str | None = None,
) -> list[RunWithCosts]:
    """Return runs with their costs, newest first, older than the position `before` (creation time, id)."""
    at, run_id = before or (None, None)
    return await db.fetch_all(
        f"""{WITH_COSTS}
        where (%(status)s::text is null or status = %(status)s)
          and (%(project)s::text is null or project = %(project)s)
          and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(id)s::uuid))
        order by created_at desc, id desc limit %(limit)s""",
        {"status": status, "project": project, "at": at, "id": run_id, "limit": limit},
        row=RunWithCosts,
    )


async def list_ids_between(db: Database, first: UUID, last: UUID, *, limit: int) -> list[UUID]:
    """Return the ids of runs from `first` to `last`, in order."""
    query = "select id from runs where id between %s and %s order by id limit %s"
    return [row["id"] for row in await db.fetch_all(query, (first, last, limit))]


async def neighbours_of_ids(db: Database, ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    """Return, for each of these runs, the ids of other runs that come directly before and after its id."""
    rows = await db.fetch_all(
        """select id, (select other.id from runs other where other.id < runs.id order by id desc limit 1) as before,
            (select other.id from runs other where other.id > runs.id order by id limit 1) as after
        from runs where id = any(%s)""",
        (list(ids),),
    )
    return {row["id"]: [other for other in (row["before"], row["after"]) if other] for row in rows}


SAVE_PROJECTION = """
update runs set status = %(status)s, current_step = %(current_step)s, revision = %(revision)s, review = %(review)s,
    artifacts = %(artifacts)s, error = %(error)s, attempts = %(attempts)s,
    next_wakeup_at = now() + %(wake_in)s::interval, updated_at = now()
where id = %(id)s
  -- A process that is not the driver any more has an outdated view.
  and driver = current_setting('application_name')
  -- A cancelled run stays cancelled.
  and error ->> 'code' is distinct from 'cancelled'
  -- A review that was decided after the thread was read does not open again.
  and not (%(review)s::jsonb is not null and exists (
      select from decisions where run_id = runs.id and gate = %(review)s::jsonb ->> 'gate'
          and revision = (%(review)s::jsonb ->> 'revision')::int))
returning id
"""


async def save_projection(db: Database, run_id: UUID | str, projection: Projection) -> bool:
    """Save the progress of a run.

    Return False if the run was cancelled, has another driver, or the review to open is already decided.
    """
    values = vars(projection) | {"id": run_id}
    async with db.transaction() as conn:
        if not await fetch_one(conn, SAVE_PROJECTION, values):
            return False
        if projection.event:
            kind, payload = projection.event
            await record_event(conn, source="advance", kind=kind, run_id=run_id, payload=payload)
    return True


async def record_step(db: Database, run_id: UUID | str, step: str) -> None:
    """Record that the run starts a step."""
    async with db.transaction() as conn:
        await conn.execute(
            """update runs set status = 'running', current_step = %s, review = null, updated_at = now(),
                next_wakeup_at = now() + %s
            where id = %s and status not in ('completed', 'failed') and driver = current_setting('application_name')""",
            (step, WAKEUP_TIMEOUT, run_id),
        )
        await record_event(conn, source="advance", kind="step.started", run_id=run_id, payload={"step": step})


async def claim(db: Database, run_id: UUID | str) -> RunRow | None:
    """Register this process as the driver of a run, after taking its lock; no other can write its thread."""
    update = "update runs set driver = current_setting('application_name') where id = %s returning *"
    return await db.fetch_one(update, (run_id,), row=RunRow)


async def clear_wakeup(db: Database, run_id: UUID | str) -> None:
    """Clear the wake-up time of a run that has ended; a run that is being retried keeps its own."""
    update = "update runs set next_wakeup_at = null where id = %s and status in ('completed', 'failed')"
    await db.execute(update, (run_id,))


# `skip locked` gives concurrent sweepers different rows; the new time keeps a row from being claimed again soon.
CLAIM_DUE = """
update runs set next_wakeup_at = now() + %(postpone_by)s
where id in (select id from runs where next_wakeup_at <= now() and (%(only)s::uuid[] is null or id = any(%(only)s))
             order by next_wakeup_at limit %(limit)s for update skip locked)
returning id
"""


async def claim_due(
    db: Database, *, limit: int = 100, postpone_by: timedelta = timedelta(seconds=1.5), only: list[str] | None = None
) -> list[str]:
    """Return the ids of runs to wake now, with `only` some of these, and postpone their next wake-up."""
    values = {"limit": limit, "postpone_by": postpone_by, "only": only}
    return [str(row["id"]) for row in await db.fetch_all(CLAIM_DUE, values)]
