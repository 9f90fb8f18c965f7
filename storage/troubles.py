"""Troubles: orders and steps whose last attempts had no useful answer; and what runs wait for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from providers.base import ProviderError
from providers.orders import OrderKey
from storage.database import Connection, Database, fetch_all, fetch_one
from storage.events import record_event

log = logging.getLogger(__name__)

#: After so long without a useful answer a person's attention is requested.
ATTENTION_AFTER = timedelta(minutes=5)
ORDER_NAMES = {"clip": "clip {}", "render": "the film", "publication": "the post"}


@dataclass(frozen=True)
class WaitingRow:
    """What a run waits for: an order, a step or a worker. Code and message are those of the last useless answer.

    `step` is the step of the run; `needs_attention` counts for all troubles of the run.
    """

    run_id: UUID
    subject: str
    step: str | None
    provider: str | None
    since: datetime
    code: str | None
    message: str | None
    attempts: int
    next_attempt_at: datetime | None
    needs_attention: bool

    @property
    def name(self) -> str:
        """Return the awaited thing in words."""
        return name_of(self.subject, self.step)


def name_of(subject: str, step: str | None) -> str:
    """Return the subject of a trouble in words: an order, or the step of a run."""
    if subject.count(":") == 3:
        key = OrderKey.parse(subject)
        return ORDER_NAMES[key.kind].format(key.number)
    return f"the step {step}" if step else "a worker"


REPORT = """
with before as (select code from troubles where subject = %(subject)s)
insert into troubles (subject, run_id, code, message) values (%(subject)s, %(run_id)s, %(code)s, %(message)s)
on conflict (subject) do update set code = excluded.code, message = excluded.message,
    attempts = troubles.attempts + 1
returning (select code from before) is distinct from code as is_changed
"""


async def report(db: Database, subject: str, run_id: UUID | str, error: ProviderError) -> bool:
    """Record an attempt without a useful answer. Return whether it is a new trouble or another error; log only that."""
    values = {"subject": subject, "run_id": run_id, "code": error.code, "message": error.message}
    row = await db.fetch_one(REPORT, values)
    is_changed = bool(row and row["is_changed"])
    if is_changed:
        log.warning("%s: %s (%s)", subject, error.message, error.code)
    return is_changed


async def end(conn: Connection, subject: str) -> None:
    """Delete a trouble, if there is one, in the caller's transaction; record it if attention was requested."""
    ended = await fetch_one(conn, "delete from troubles where subject = %s returning *", (subject,))
    if ended is None:
        return
    log.warning("%s: the trouble ended after %d attempts (%s)", subject, ended["attempts"], ended["code"])
    if ended["attention_at"]:
        run_id, payload = ended["run_id"], {"code": ended["code"], "message": ended["message"]}
        await record_event(
            conn, source="sweep", kind="run.attention_ended", run_id=run_id, payload=payload, subject=subject
        )


async def end_now(db: Database, subject: str) -> None:
    """Delete a trouble in a transaction of its own. See `end`."""
    async with db.transaction() as conn:
        await end(conn, subject)


# A trouble counts while its run goes on and, if it is one of an order, while the run waits for that order.
COUNTS: LiteralString = """
    from troubles join runs on runs.id = troubles.run_id left join orders on orders.key = troubles.subject
    where runs.status not in ('completed', 'failed')
        and (orders.key is null or orders.state in ('reserved', 'submitted'))
"""
RAISE: LiteralString = f"""
update troubles set attention_at = now() from (
    select troubles.subject as found, runs.status, runs.current_step {COUNTS}
    and attention_at is null and since <= now() - %s for update of troubles skip locked) as late
where subject = found returning *
"""  # noqa: S608 - SQL


async def request_attention(db: Database) -> int:
    """Record an event for every trouble that has lasted for `ATTENTION_AFTER`; return their number."""
    async with db.transaction() as conn:
        late = await fetch_all(conn, RAISE, (ATTENTION_AFTER,))
        for row in late:
            name = name_of(row["subject"], row["current_step"])
            payload = {key: row[key] for key in ("status", "code", "message", "attempts")}
            payload |= {"what": name, "since": row["since"].isoformat()}
            await record_event(
                conn, source="sweep", kind="run.needs_attention", run_id=row["run_id"], payload=payload,
                subject=row["subject"],
            )  # fmt: skip
    return len(late)


# A trouble comes first, the oldest of several; without one the oldest order, and without orders the step.
WAITING: LiteralString = f"""
select distinct on (run.id) run.id as run_id, run.current_step as step, awaited.subject, provider, awaited.since,
    awaited.code, awaited.message, awaited.attempts, next_attempt_at,
    exists (select {COUNTS} and attention_at is not null and troubles.run_id = run.id) as needs_attention
from runs as run cross join lateral (
    select key as subject, provider, coalesce(since, submitted_at, created_at) as since, code, message,
        coalesce(attempts, 0) as attempts, next_poll_at as next_attempt_at, 1 as rank
    from orders left join troubles on subject = key
    where orders.run_id = run.id and kind <> 'model' and state in ('reserved', 'submitted')
    union all
    select run.id::text, null, coalesce(since, run.updated_at), code, message, coalesce(attempts, 0),
        run.next_wakeup_at, 2
    from (select) as step left join troubles on subject = run.id::text) as awaited
where run.id = any(%s) and run.status not in ('completed', 'failed') and run.review is null
order by run.id, awaited.code is null, rank, awaited.since
"""  # noqa: S608 - SQL


async def list_waiting(db: Database, run_ids: Sequence[UUID]) -> dict[UUID, WaitingRow]:
    """Return what each of these runs waits for, by run; a run that has ended or waits for a person is left out."""
    rows = await db.fetch_all(WAITING, (list(run_ids),), row=WaitingRow)
    return {row.run_id: row for row in rows}


async def list_subjects(db: Database, run_id: UUID) -> list[str]:
    """Return the subjects of the troubles that keep this run waiting."""
    query: LiteralString = f"select troubles.subject {COUNTS} and troubles.run_id = %s"
    return [row["subject"] for row in await db.fetch_all(query, (run_id,))]
