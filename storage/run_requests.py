"""Requests to cancel or retry a run, applied to its row and recorded as an event."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

from providers.orders import RetryOptions
from storage.actors import RequestContext
from storage.database import Database, fetch_one, read_statements
from storage.events import record_event
from storage.runs import WAKEUP_TIMEOUT

sql = read_statements("run_requests")


async def cancel_run(db: Database, run_id: UUID, context: RequestContext) -> bool:
    """End a run as cancelled. Return False if it had ended, or the request is a repeated one.

    Its orders that were not called for are due at once, to be released; so is a publication that is scheduled.
    """
    is_cancelled = await _update_by_request(db, sql["cancel"], "cancel", run_id, context, {})
    await db.execute(sql["release_orders"], (run_id,))
    return is_cancelled


async def retry_run(db: Database, run_id: UUID, context: RequestContext, options: RetryOptions | None = None) -> bool:
    """Resume a failed run. Return False if it cannot be resumed, or the request is a repeated one."""
    return await _update_by_request(db, sql["retry"], "retry", run_id, context, options or {})


async def try_again(db: Database, run_id: UUID, subjects: Sequence[str], context: RequestContext) -> None:
    """Make the next attempts of a run in trouble due: those of these orders, and of its step."""
    async with db.transaction() as conn:
        await conn.execute(sql["poll_orders"], (list(subjects),))
        await conn.execute("update runs set next_wakeup_at = now() where id = %s", (run_id,))
        payload, event_id = {"actor": context.actor.as_json()}, context.event_id(f"attempt:{run_id}")
        await record_event(conn, context.channel, "attempt.requested", run_id, payload, dedup_key=event_id)


async def _update_by_request(
    db: Database, update: LiteralString, action: str, run_id: UUID, context: RequestContext, options: Mapping[str, Any]
) -> bool:
    async with db.transaction() as conn:
        if not await fetch_one(conn, update, {"id": run_id, "wake_in": WAKEUP_TIMEOUT}):
            return False
        payload = {"actor": context.actor.as_json(), **options}
        event_id, kind = context.event_id(f"{action}:{run_id}"), f"{action}.requested"
        return await record_event(conn, context.channel, kind, run_id, payload, dedup_key=event_id)
