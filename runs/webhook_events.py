"""Record webhook events of providers. An event only triggers a poll; its content is never trusted."""

from uuid import UUID

from providers.webhooks import VideoEvent
from runs.services import Services
from storage.events import Webhook, record_webhook
from telemetry.logs import identified
from telemetry.traces import span


async def record_video_webhook(
    services: Services,
    source: str,
    provider: str,
    webhook_id: str,
    event: VideoEvent,
    *,
    run_id: UUID | None = None,
    order_key: str | None = None,
) -> bool:
    """Record an event of a provider of clips, given by its short name. Return False if it was recorded before.

    `run_id` and `order_key` are hints for a task that belongs to no known order, because its id may not be recorded.
    """
    found, payload = services.ledger.find_provider("clip", provider), {"type": event.type, "id": event.event_id}
    named = found.name if found else provider
    return await _record(services, Webhook(webhook_id, source, named, event.video_id, payload, run_id, order_key))


async def record_render_webhook(
    services: Services, webhook_id: str, run_id: UUID, *, task_id: str, kind: str
) -> bool | None:
    """Record an event of the render service. Return False for a repeated one, None if the run has no such order."""
    provider = services.ledger.providers["render"][0].name
    order = await services.ledger.find_by_task(provider, task_id)
    if order is None or order.run_id != run_id:
        return None
    return await _record(services, Webhook(webhook_id, "remotion", provider, task_id, {"type": kind}, run_id))


async def _record(services: Services, webhook: Webhook) -> bool:
    recorded = await record_webhook(services.db, webhook)
    if recorded.is_new and recorded.order_key:
        with identified(recorded.order_key), span("webhook"):
            services.wakeups.reconcile(recorded.order_key)
    return recorded.is_new
