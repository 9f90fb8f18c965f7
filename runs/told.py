"""What providers tell us about their work: kept first, then looked into. It is only ever a reason to look."""

from __future__ import annotations

from uuid import UUID

from runs.production import Production
from storage import events
from storage import runs as table


async def video_told(
    production: Production, webhook_id: str, *, task_id: str, kind: str, event_id: str | None, run_id: UUID | None
) -> bool:
    """Keep what was told about a clip; False if it was told before.

    `run_id` is a hint for a task that no order is known by, which may be one whose id is not recorded yet.
    """
    ledger = production.ledger
    key = await ledger.key_of(ledger.providers["clip"].name, task_id)
    about = UUID(key.split(":", 1)[0]) if key else run_id
    if about and not await table.get(production.db, about):
        about = None
    return await _keep(production, "sora", webhook_id, about, task_id, {"type": kind, "id": event_id}, key)


async def render_told(production: Production, webhook_id: str, run_id: UUID, *, task_id: str, kind: str) -> bool | None:
    """Keep what was told about a render; False if it was told before, None if this run did not ask for it."""
    ledger = production.ledger
    key = await ledger.key_of(ledger.providers["render"].name, task_id)
    if key is None or key.split(":", 1)[0] != str(run_id):
        return None
    return await _keep(production, "remotion", webhook_id, run_id, task_id, {"type": kind}, key)


async def _keep(
    production: Production,
    source: str,
    webhook_id: str,
    run_id: UUID | None,
    subject: str,
    payload: dict[str, str | None],
    key: str | None,
) -> bool:
    async with production.db.transaction() as conn:
        new = await events.record(
            conn,
            source=source,
            external_id=webhook_id,
            kind="webhook.received",
            run_id=run_id,
            subject=subject,
            payload=payload,
        )
    if new and key:
        await production.ledger.look_now(key)
        production.wake.collect(key)
    return new
