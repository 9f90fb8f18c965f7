"""Record webhook events of providers. An event only triggers a poll; its content is never trusted."""

from collections.abc import Mapping
from uuid import UUID

from runs.services import Services
from storage import events
from storage import runs as table
from storage.orders import OrderRow


async def record_video_webhook(
    services: Services, webhook_id: str, *, task_id: str, kind: str, event_id: str | None, run_id: UUID | None
) -> bool:
    """Record an event of the video provider. Return False if it was recorded before.

    `run_id` is a hint for a task that belongs to no known order, because its id may not be recorded yet.
    """
    ledger = services.ledger
    order = await ledger.find_by_task(ledger.providers["clip"].name, task_id)
    if order:
        run_id = order.run_id
    elif run_id and not await table.get_run(services.db, run_id):
        run_id = None
    return await _record(services, "sora", webhook_id, run_id, task_id, {"type": kind, "id": event_id}, order)


async def record_render_webhook(
    services: Services, webhook_id: str, run_id: UUID, *, task_id: str, kind: str
) -> bool | None:
    """Record an event of the render service.

    Return False if it was recorded before, None if the task belongs to no order of the run.
    """
    ledger = services.ledger
    order = await ledger.find_by_task(ledger.providers["render"].name, task_id)
    if order is None or order.run_id != run_id:
        return None
    return await _record(services, "remotion", webhook_id, run_id, task_id, {"type": kind}, order)


async def _record(
    services: Services,
    source: str,
    webhook_id: str,
    run_id: UUID | None,
    task_id: str,
    payload: Mapping[str, str | None],
    order: OrderRow | None,
) -> bool:
    async with services.db.transaction() as conn:
        is_new = await events.record_event(
            conn,
            source=source,
            dedup_key=webhook_id,
            kind="webhook.received",
            run_id=run_id,
            subject=task_id,
            payload=payload,
        )
    if is_new and order:
        await services.ledger.poll_now(order.key)
        services.wakeups.reconcile(order.key)
    return is_new
