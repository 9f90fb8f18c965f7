"""Runs: the request of each, and the projection of its progress."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString, TypedDict, Unpack
from uuid import UUID

from psycopg.sql import SQL

from storage.actors import Actor, ClaimedUser, RequestContext
from storage.database import Database, from_now, insert_statement, read_statements
from storage.events import NUMBERED_EVENT, event_values
from storage.spending import OF_RUN as COSTS_OF_RUN, Costs
from storage.troubles import WAITING

log = logging.getLogger(__name__)

#: The shortest start of an id that is printed.
SHORT_ID_CHARACTERS = 8
#: The sweeper sends a wake-up again if it had no effect within this time.
WAKEUP_TIMEOUT = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run to create. `forked_from` is set for a fork, and `seed` has the first channels of a thread that has any."""

    id: UUID
    project: str
    brief: str
    options: dict[str, int]
    metadata: dict[str, str]
    cap_usd: Decimal
    forked_from: UUID | None = None
    seed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> str | None:
        """Return the digest of the image that the first clip of new ideas starts from, or None."""
        return self.seed.get("image")


@dataclass(frozen=True)
class Progress:
    """The progress of a run, as its thread shows it. The open review and the results so far are JSON."""

    status: str
    #: That of the node that runs or ran last.
    current_step: str | None
    #: That of the review that is open, or was open last.
    revision: int
    review: dict[str, Any] | None
    artifacts: dict[str, Any]
    #: Code, message and `retryable` of a failed run.
    error: dict[str, Any] | None = None
    #: Consecutive attempts that met an unavailable provider.
    attempts: int = 0


@dataclass(frozen=True)
class Projection(Progress):
    """The progress of a run to save."""

    #: When the sweeper wakes the run; None if an event will.
    wake_in: timedelta | None = None
    #: Kind and payload of an event to record in the same transaction.
    event: tuple[str, dict[str, Any]] | None = None
    #: The `updated_at` of the run when its thread was read, if any change since then outdates the progress.
    read_at: datetime | None = None


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
    #: Since when its words, thread and files are gone.
    pruned_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class RunInFull(RunRow, Costs):
    """A row of `runs` with the costs of its orders, and what it waits for: a row of `WAITING` as JSON, or None."""

    waiting: dict[str, Any] | None


async def create_run(db: Database, new: NewRun, context: RequestContext) -> RunRow:
    """Create a run and return it; an existing run of this id is returned as it is."""
    values = {**vars(new), **context.columns(), "next_wakeup_at": from_now(WAKEUP_TIMEOUT), "last_seq": 1}
    payload: dict[str, object] = {"project": new.project, "actor": context.actor.as_json()}
    if new.forked_from:
        payload["forked_from"] = str(new.forked_from)
    event = event_values(context.channel, "run.started", payload)
    statement = SQL("with numbered as ({}), recorded as ({}) select * from numbered")
    created = statement.format(insert_statement("runs", values), SQL(NUMBERED_EVENT))
    run = await db.change(created, {**values, **event}, row=RunRow) or await get_run(db, new.id)
    assert run is not None  # noqa: S101 - runs are not deleted
    return run


async def get_run(db: Database, run_id: UUID | str) -> RunRow | None:
    """Return the run, or None."""
    return await db.fetch_one("select * from runs where id = %s", (run_id,), row=RunRow)


async def newest_changes(db: Database, ids: Collection[UUID]) -> dict[UUID, str | None]:
    """Return the `seq` of the newest event of each of these runs, or the newest checkpoint of a chat's thread."""
    return {row["id"]: row["newest"] for row in await db.fetch_all(sql["newest_changes"], (list(ids),))}


sql = read_statements("runs", costs_of_run=COSTS_OF_RUN, numbered_event=NUMBERED_EVENT, waiting=WAITING)


async def _fetch_in_full(
    db: Database, where: LiteralString, values: Mapping[str, object], served_to: Actor | None
) -> list[RunInFull]:
    select = sql["in_full"].format(where)
    if served_to is None:
        return await db.fetch_all(select, values, row=RunInFull)
    return await db.fetch_all(sql["served"].format(select), {**values, "actor_id": served_to.id}, row=RunInFull)


async def get_run_in_full(db: Database, run_id: UUID | str, *, served_to: Actor | None) -> RunInFull | None:
    """Return the run with its costs and what it waits for, or None. Record to which actor its review is served."""
    rows = await _fetch_in_full(db, "id = %(id)s", {"id": run_id}, served_to)
    return rows[0] if rows else None


class RunFilter(TypedDict, total=False):
    """The runs to list: older than the position `before` (creation time, id); and the actor that they are served to.

    `text` is part of id, brief or title, in any case; `since` and `until` are days (UTC).
    """

    before: tuple[datetime, UUID] | None
    status: str | None
    project: str | None
    text: str | None
    since: date | None
    until: date | None
    served_to: Actor | None


#: The condition of each filter.
CONDITIONS: dict[str, LiteralString] = {
    "status": "status = %(status)s",
    "project": "project = %(project)s",
    "text": "strpos(lower(concat_ws(' ', id, brief, artifacts #>> '{ideas,title}')), lower(%(text)s)) > 0",
    "since": "created_at >= %(since)s::timestamp at time zone 'utc'",
    "until": "created_at < (%(until)s::timestamp + interval '1 day') at time zone 'utc'",
    "before": "(created_at, id) < (%(at)s, %(id)s)",
}


async def list_runs(db: Database, *, limit: int, **which: Unpack[RunFilter]) -> list[RunInFull]:
    """Return up to `limit` of these runs as `get_run_in_full`, newest first."""
    at, run_id = which.get("before") or (None, None)
    where: LiteralString = " and ".join(CONDITIONS[name] for name in CONDITIONS if which.get(name)) or "true"
    page = f"{where} order by created_at desc, id desc limit %(limit)s"
    return await _fetch_in_full(db, page, {**which, "at": at, "id": run_id, "limit": limit}, which.get("served_to"))


async def list_films(db: Database) -> dict[str, str]:
    """Return the digest of the newest film of each project, as far as it is among the last 200 that were completed."""
    return {row["project"]: row["film"] for row in await db.fetch_all(sql["films"])}


async def list_ids_between(db: Database, first: UUID, last: UUID, *, limit: int) -> list[UUID]:
    """Return the ids of runs from `first` to `last`, in order."""
    return [row["id"] for row in await db.fetch_all(sql["ids_between"], (first, last, limit))]


async def short_ids(db: Database, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the start of each id that no other run has, of at least `SHORT_ID_CHARACTERS`."""
    values = {"ids": list(ids), "shortest": SHORT_ID_CHARACTERS}
    return {row["id"]: row["short_id"] for row in await db.fetch_all(sql["short_ids"], values)}


async def save_projection(db: Database, run_id: UUID | str, projection: Projection) -> bool:
    """Save the progress of a run, and record its event, in one statement.

    Return False if the run was cancelled, has another driver, has changed since `read_at`, or the review to open is
    already decided.
    """
    event = event_values("advance", *(projection.event or (None, None)))
    is_saved = await db.change(sql["save_projection"], {**vars(projection), "id": run_id, **event}) is not None
    if is_saved and projection.event:
        log.info("%s: %s", run_id, projection.event[0])
    return is_saved


async def record_step(db: Database, run_id: UUID | str, step: str) -> None:
    """Record that the run starts a step, unless it has ended or has another driver."""
    values = {"id": run_id, "step": step, "wake_in": WAKEUP_TIMEOUT}
    await db.execute(sql["record_step"], {**values, **event_values("advance", "step.started", {"step": step})})


async def claim(db: Database, run_id: UUID | str) -> RunRow | None:
    """Register this process as the driver of a run, after taking its lock; no other can write its thread."""
    return await db.fetch_one(sql["claim"], (run_id,), row=RunRow)


async def clear_wakeup(db: Database, run_id: UUID | str) -> None:
    """Clear the wake-up time of a run that has ended; a run that is being retried keeps its own."""
    await db.execute(sql["clear_wakeup"], (run_id,))


async def claim_due(db: Database, limit: int, *, only: list[str] | None = None) -> list[str]:
    """Return the ids of runs to wake now, with `only` some of these, and postpone their next wake-up."""
    return [str(row["id"]) for row in await db.fetch_all(sql["claim_due"], {"limit": limit, "only": only})]
