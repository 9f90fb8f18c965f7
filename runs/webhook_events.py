"""What providers tell us about their work: kept first, then looked into. It is only ever a reason to look."""

from __future__ import annotations

from uuid import UUID

from runs.services import Services
from storage import events
from storage import runs as table


async def record_video_webhook(
    services: Services, webhook_id: str, *, task_id: str, kind: str, event_id: str | None, run_id: UUID | None
) -> bool:
    """Keep what was told about a clip; False if it was told before.

    `run_id` is a hint for a task that no order is known by, which may be one whose id is not recorded yet.
    """
    ledger = services.ledger
    key = await ledger.find_key(ledger.providers["clip"].name, task_id)
    about = UUID(key.split(":", 1)[0]) if key else run_id
    if about and not await table.get_run(services.db, about):
        about = None
    return await _keep(services, "sora", webhook_id, about, task_id, {"type": kind, "id": event_id}, key)


async def record_render_webhook(
    services: Services, webhook_id: str, run_id: UUID, *, task_id: str, kind: str
) -> bool | None:
    """Keep what was told about a render; False if it was told before, None if this run did not ask for it."""
    ledger = services.ledger
    key = await ledger.find_key(ledger.providers["render"].name, task_id)
    if key is None or key.split(":", 1)[0] != str(run_id):
        return None
    return await _keep(services, "remotion", webhook_id, run_id, task_id, {"type": kind}, key)


async def _keep(
    services: Services,
    source: str,
    webhook_id: str,
    run_id: UUID | None,
    subject: str,
    payload: dict[str, str | None],
    key: str | None,
) -> bool:
    async with services.db.transaction() as conn:
        new = await events.record_event(
            conn,
            source=source,
            external_id=webhook_id,
            kind="webhook.received",
            run_id=run_id,
            subject=subject,
            payload=payload,
        )
    if new and key:
        await services.ledger.poll_now(key)
        services.wakeups.reconcile(key)
    return new
