"""Troubles: orders and steps whose last attempts had no useful answer; and what runs wait for."""

import logging
from datetime import timedelta
from uuid import UUID

from providers.base import ProviderError
from providers.orders import OrderKey
from storage.database import Database, fetch_all, read_statements
from storage.events import record_event

log = logging.getLogger(__name__)

#: After so long without a useful answer a person's attention is requested.
ATTENTION_AFTER = timedelta(minutes=5)


def name_of(subject: str, step: str | None) -> str:
    """Return the subject of a trouble in words: an order, or the step of a run."""
    if subject.count(":") == 3:
        return OrderKey.parse(subject).name
    return f"the step {step}" if step else "a worker"


sql = read_statements("troubles")
COUNTS = sql["counts"]
WAITING = sql["waiting"]


async def report(db: Database, subject: str, run_id: UUID | str, error: ProviderError) -> bool:
    """Record an attempt without a useful answer. Return whether it is a new trouble or another error; log only that."""
    values = {"subject": subject, "run_id": run_id, "code": error.code, "message": error.message}
    row = await db.fetch_one(sql["report"], values)
    is_changed = bool(row and row["is_changed"])
    if is_changed:
        log.warning("%s: %s (%s)", subject, error.message, error.code)
    return is_changed


async def end(db: Database, subject: str) -> None:
    """Delete a trouble, if there is one."""
    if ended := await db.change(sql["end"], {"subject": subject}):
        log.warning("%s: the trouble ended after %d attempts (%s)", subject, ended["attempts"], ended["code"])


async def request_attention(db: Database) -> int:
    """Record an event for every trouble that has lasted for `ATTENTION_AFTER`; return their number."""
    async with db.transaction() as conn:
        late = await fetch_all(conn, sql["raise"], (ATTENTION_AFTER,))
        for row in late:
            name = name_of(row["subject"], row["current_step"])
            payload = {key: row[key] for key in ("status", "code", "message", "attempts")}
            payload |= {"what": name, "since": row["since"].isoformat()}
            await record_event(conn, "sweep", "run.needs_attention", row["run_id"], payload, subject=row["subject"])
    return len(late)


async def list_subjects(db: Database, run_id: UUID) -> list[str]:
    """Return the subjects of the troubles that keep this run waiting."""
    return [row["subject"] for row in await db.fetch_all(sql["subjects"], (run_id,))]
