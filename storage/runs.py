"""The rows of runs: what was asked for, and the projection of how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString, TypedDict
from uuid import UUID

from psycopg.types.json import Jsonb

from providers.orders import RetryOptions
from storage.database import Database
from storage.events import record_event


class RunRow(TypedDict):
    """A row of `runs`."""

    id: UUID
    project: str
    brief: str
    options: dict[str, int]
    metadata: dict[str, str]
    cap_usd: Decimal
    started_by: str
    channel: str
    status: str
    current_step: str | None
    revision: int
    review: dict[str, Any] | None
    artifacts: dict[str, Any]
    error: dict[str, Any] | None
    driver: str | None
    forked_from: UUID | None
    seed: dict[str, Any]
    attempts: int
    next_look_at: datetime | None
    last_seq: int
    created_at: datetime
    updated_at: datetime


class Costs(TypedDict):
    """What a run's orders come to, in USD."""

    reserved: Decimal
    spent: Decimal


#: How long after a wake-up was sent the sweeper looks whether it arrived.
WAKEUP_TIMEOUT = timedelta(seconds=2)

START = """
insert into runs (id, project, brief, options, metadata, cap_usd, started_by, channel, forked_from, seed,
                  next_look_at)
values (%(id)s, %(project)s, %(brief)s, %(options)s, %(metadata)s, %(cap_usd)s, %(started_by)s, %(channel)s,
        %(forked_from)s, %(seed)s, now() + %(lost)s)
on conflict (id) do nothing
returning id
"""


async def create_run(
    db: Database,
    run_id: UUID,
    *,
    project: str,
    brief: str,
    options: Mapping[str, int],
    metadata: Mapping[str, str],
    cap_usd: Decimal,
    started_by: str,
    channel: str,
    forked_from: UUID | None = None,
    seed: Mapping[str, Any] | None = None,
) -> bool:
    """Write down a new run; False if there is one of this id already."""
    values = {
        "id": run_id,
        "project": project,
        "brief": brief,
        "options": Jsonb(dict(options)),
        "metadata": Jsonb(dict(metadata)),
        "cap_usd": cap_usd,
        "started_by": started_by,
        "channel": channel,
        "forked_from": forked_from,
        "seed": Jsonb(dict(seed or {})),
        "lost": WAKEUP_TIMEOUT,
    }
    async with db.transaction() as conn:
        if await (await conn.execute(START, values)).fetchone() is None:
            return False
        payload = {"project": project, "started_by": started_by}
        if forked_from:
            payload["forked_from"] = str(forked_from)
        await record_event(conn, source=channel, kind="run.started", run_id=run_id, payload=payload)
    return True


async def get_run(db: Database, run_id: UUID | str) -> RunRow | None:
    """The run of this id, if there is one."""
    row = await db.fetch_one("select * from runs where id = %s", (run_id,))
    return RunRow(**row) if row else None  # type: ignore[typeddict-item]  # the columns are its keys


async def list_runs(
    db: Database,
    *,
    limit: int,
    before: tuple[datetime, UUID] | None = None,
    status: str | None = None,
    project: str | None = None,
) -> list[RunRow]:
    """Runs, newest first, older than the place `before`."""
    rows = await db.fetch_all(
        """select * from runs
        where (%(status)s::text is null or status = %(status)s)
          and (%(project)s::text is null or project = %(project)s)
          and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(id)s::uuid))
        order by created_at desc, id desc limit %(limit)s""",
        {
            "status": status,
            "project": project,
            "at": before[0] if before else None,
            "id": before[1] if before else None,
            "limit": limit,
        },
    )
    return [RunRow(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys


async def run_costs(db: Database, run_id: UUID | str) -> Costs:
    """What a run has reserved and not settled, and what it has spent."""
    row = await db.fetch_one(
        """select coalesce(sum(amount_usd) filter (where state in ('reserved', 'submitted', 'unknown')), 0) as reserved,
                  coalesce(sum(spent_usd), 0) as spent
        from orders where run_id = %s""",
        (run_id,),
    )
    return Costs(reserved=row["reserved"], spent=row["spent"]) if row else Costs(reserved=Decimal(0), spent=Decimal(0))


# The door that ends a run ends it at once; whoever drives it at the moment orders nothing more (see the ledger).
CANCEL = """
update runs set status = 'failed', review = null, current_step = null, updated_at = now(), next_look_at = now(),
    error = '{"code": "cancelled", "message": "The run was cancelled.", "retryable": false}'
where id = %(id)s and status not in ('completed', 'failed')
returning id
"""

RETRY = """
update runs set status = 'running', error = null, attempts = 0, updated_at = now(), next_look_at = now() + %(lost)s
where id = %(id)s and status = 'failed' and (error ->> 'retryable')::boolean
returning id
"""


async def cancel_run(db: Database, run_id: UUID, *, source: str, by: str, external_id: str) -> bool:
    """Write down that a person cancelled the run, which ends it; False if it had ended, or was told twice."""
    return await _asked(db, CANCEL, "cancel.requested", run_id, source, by, external_id)


async def retry_run(
    db: Database, run_id: UUID, *, source: str, by: str, external_id: str, wishes: RetryOptions | None = None
) -> bool:
    """Write down that a person wants a failed run to go on; False if it cannot, or was told twice."""
    return await _asked(db, RETRY, "retry.requested", run_id, source, by, external_id, wishes)


async def _asked(
    db: Database,
    update: LiteralString,
    kind: str,
    run_id: UUID,
    source: str,
    by: str,
    external_id: str,
    wishes: RetryOptions | None = None,
) -> bool:
    async with db.transaction() as conn:
        cursor = await conn.execute(update, {"id": run_id, "lost": WAKEUP_TIMEOUT})
        if await cursor.fetchone() is None:
            return False
        said = {"asked_by": by, **(wishes or {})}
        return await record_event(conn, source=source, kind=kind, run_id=run_id, external_id=external_id, payload=said)


PROJECT = """
update runs set status = %(status)s, current_step = %(current_step)s, revision = %(revision)s, review = %(review)s,
    artifacts = %(artifacts)s, error = %(error)s, attempts = %(attempts)s,
    next_look_at = now() + %(look_in)s::interval, updated_at = now()
where id = %(id)s
  -- Who is not the driver any more tells nothing.
  and driver = current_setting('application_name')
  -- Cancelled stays cancelled.
  and error ->> 'code' is distinct from 'cancelled'
  -- A gate that was decided after the thread was read is closed: it does not open again.
  and not (%(review)s::jsonb is not null and exists (
      select from decisions where run_id = runs.id and gate = %(review)s::jsonb ->> 'gate'
          and revision = (%(review)s::jsonb ->> 'revision')::int))
returning id
"""


async def save_projection(
    db: Database,
    run_id: UUID | str,
    *,
    status: str,
    current_step: str | None,
    revision: int,
    review: dict[str, Any] | None,
    artifacts: dict[str, Any],
    error: dict[str, Any] | None = None,
    attempts: int = 0,
    look_in: timedelta | None = None,
    event: tuple[str, dict[str, Any]] | None = None,
) -> bool:
    """Write how far the run is, and when to look again if nothing happens (None: not before something does).

    False if the run was cancelled or has another driver, or the review it would open is decided already.
    """
    values = {
        "id": run_id,
        "status": status,
        "current_step": current_step,
        "revision": revision,
        "review": Jsonb(review) if review else None,
        "artifacts": Jsonb(artifacts),
        "error": Jsonb(error) if error else None,
        "attempts": attempts,
        "look_in": look_in,
    }
    async with db.transaction() as conn:
        if await (await conn.execute(PROJECT, values)).fetchone() is None:
            return False
        if event:
            await record_event(conn, source="advance", kind=event[0], run_id=run_id, payload=event[1])
    return True


async def record_step(db: Database, run_id: UUID | str, step: str) -> None:
    """Write that the run works on a step now."""
    async with db.transaction() as conn:
        await conn.execute(
            """update runs set status = 'running', current_step = %s, review = null, updated_at = now(),
                next_look_at = now() + %s
            where id = %s and status not in ('completed', 'failed') and driver = current_setting('application_name')""",
            (step, WAKEUP_TIMEOUT, run_id),
        )
        await record_event(conn, source="advance", kind="step.started", run_id=run_id, payload={"step": step})


# Several sweepers may look at once: each takes other rows, and puts them off so that nobody takes them again soon.
DUE = """
update runs set next_look_at = now() + %(put_off)s
where id in (select id from runs where next_look_at <= now() order by next_look_at limit %(limit)s
             for update skip locked)
returning id
"""


async def claim(db: Database, run_id: UUID | str) -> RunRow | None:
    """Become the driver of a run, after its lock was taken: from now on nobody else can write its thread."""
    row = await db.fetch_one(
        "update runs set driver = current_setting('application_name') where id = %s returning *", (run_id,)
    )
    return RunRow(**row) if row else None  # type: ignore[typeddict-item]  # the columns are its keys


async def clear_wakeup(db: Database, run_id: UUID | str) -> None:
    """Look at a run that has ended no more until something happens; one that a person let go on is left alone."""
    await db.execute(
        "update runs set next_look_at = null where id = %s and status in ('completed', 'failed')", (run_id,)
    )


async def claim_due(db: Database, *, limit: int = 100, put_off: timedelta = timedelta(seconds=1.5)) -> list[str]:
    """The ids of runs that should be looked at now."""
    return [str(row["id"]) for row in await db.fetch_all(DUE, {"limit": limit, "put_off": put_off})]
