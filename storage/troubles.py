"""Troubles: orders and steps whose last attempts had no useful answer; and what runs wait for."""

import logging
from datetime import timedelta
from typing import LiteralString
from uuid import UUID

from providers.base import ProviderError
from providers.orders import OrderKey
from storage.database import Database, fetch_all
from storage.events import record_event

log = logging.getLogger(__name__)

#: After so long without a useful answer a person's attention is requested.
ATTENTION_AFTER = timedelta(minutes=5)
ORDER_NAMES = {"clip": "clip {}", "render": "the film", "publication": "the post", "speech": "narration {}"}


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


# With an event of the run if attention was requested.
END = """
with ended as (delete from troubles where subject = %(subject)s returning *),
numbered as (
    update runs set last_seq = last_seq + 1 where id = (select run_id from ended where attention_at is not null)
    returning id, last_seq
), recorded as (
    insert into events (run_id, seq, source, dedup_key, kind, subject, payload)
    select id, numbered.last_seq, 'sweep', gen_random_uuid()::text, 'run.attention_ended', subject,
        jsonb_build_object('code', code, 'message', message)
    from numbered, ended
)
select attempts, code from ended
"""


async def end(db: Database, subject: str) -> None:
    """Delete a trouble, if there is one."""
    if ended := await db.change(END, {"subject": subject}):
        log.warning("%s: the trouble ended after %d attempts (%s)", subject, ended["attempts"], ended["code"])


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
            await record_event(conn, "sweep", "run.needs_attention", row["run_id"], payload, subject=row["subject"])
    return len(late)


# For a row of `runs`. A trouble comes first, the oldest of several; without one the oldest order, and without orders
# the step.
WAITING: LiteralString = f"""
select awaited.subject, provider, awaited.since, awaited.code, awaited.message, awaited.attempts, next_attempt_at,
    scheduled_for, exists (select {COUNTS} and attention_at is not null and troubles.run_id = run.id) as needs_attention
from (
    select key as subject, provider, coalesce(since, submitted_at, created_at) as since, code, message,
        coalesce(attempts, 0) as attempts, next_poll_at as next_attempt_at, 1 as rank,
        nullif(greatest((request ->> 'publish_at')::timestamptz, now()), now()) as scheduled_for
    from orders left join troubles on subject = key
    where orders.run_id = run.id and kind <> 'model' and state in ('reserved', 'submitted')
    union all
    select run.id::text, null, coalesce(since, run.updated_at), code, message, coalesce(attempts, 0),
        run.next_wakeup_at, 2, null
    from (select) as step left join troubles on subject = run.id::text) as awaited
where run.status not in ('completed', 'failed') and run.review is null
order by awaited.code is null, rank, awaited.since limit 1
"""  # noqa: S608 - SQL


async def list_subjects(db: Database, run_id: UUID) -> list[str]:
    """Return the subjects of the troubles that keep this run waiting."""
    query: LiteralString = f"select troubles.subject {COUNTS} and troubles.run_id = %s"
    return [row["subject"] for row in await db.fetch_all(query, (run_id,))]
