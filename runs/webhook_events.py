"""Record webhook events of providers. An event only triggers a poll; its content is never trusted."""

from typing import Any
from uuid import UUID

from runs.services import Services
from storage.events import record_webhook


async def record_video_webhook(
    services: Services, webhook_id: str, *, task_id: str, kind: str, event_id: str | None, run_id: UUID | None
) -> bool:
    """Record an event of the video provider; False if repeated. `run_id` is a hint for a task that is not known yet."""
    provider, payload = services.ledger.providers["clip"].name, {"type": kind, "id": event_id}
    return await _record(services, "sora", webhook_id, provider, task_id, run_id, payload)


async def record_render_webhook(
    services: Services, webhook_id: str, run_id: UUID, *, task_id: str, kind: str
) -> bool | None:
    """Record an event of the render service. Return False for a repeated one, None if the run has no such order."""
    provider = services.ledger.providers["render"].name
    order = await services.ledger.find_by_task(provider, task_id)
    if order is None or order.run_id != run_id:
        return None
    return await _record(services, "remotion", webhook_id, provider, task_id, run_id, {"type": kind})


async def _record(
    services: Services, source: str, webhook_id: str, provider: str, task_id: str, run_id: UUID | None, payload: Any
) -> bool:
    task = {"provider": provider, "task_id": task_id}
    recorded = await record_webhook(
        services.db, source=source, webhook_id=webhook_id, **task, run_id=run_id, payload=payload
    )
    if recorded.is_new and recorded.order_key:
        services.wakeups.reconcile(recorded.order_key)
    return recorded.is_new
