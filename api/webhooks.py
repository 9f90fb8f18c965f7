"""`/v1/webhooks`: events of the providers, verified, committed and acknowledged. The order is then polled."""

import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.routing import APIRoute

from api.authentication import AppStateDep
from api.checked_settings import OPEN_PROVIDER
from api.errors import ApiError, responses
from api.schemas import WebhookReceipt
from providers.orders import digest_of
from providers.video_provider import VideoProvider
from providers.webhooks import read_render_event, read_video_event, verify_lambda, verify_signature
from runs.webhook_events import record_render_webhook, record_video_webhook
from storage.database import DATABASE_UNAVAILABLE
from telemetry.metrics import WEBHOOKS

#: Event types of the API reference; other types are acknowledged and ignored.
VIDEO_EVENT_TYPES = ("video.completed", "video.failed")


class WebhookRoute(APIRoute):
    """Counts webhooks by their result."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route."""
        handle, source = super().get_route_handler(), self.path.split("/")[3]

        async def handle_and_count(request: Request) -> Response:
            result = "refused"
            try:
                response = await handle(request)
                result = json.loads(bytes(response.body))["status"]
            except DATABASE_UNAVAILABLE:
                result = "failed"
                raise
            finally:
                WEBHOOKS.labels(source, result).inc()
            return response

        return handle_and_count


router = APIRouter(
    prefix="/v1/webhooks", tags=["webhooks"], responses=responses(400, 401, 413, 422), route_class=WebhookRoute
)

_CONTENT = {"application/json": {"schema": {"type": "object"}}}
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _CONTENT}}

VendorName = Annotated[str, Path(pattern="^[a-z0-9_]{1,32}$")]
OrderHint = Annotated[str | None, Query(max_length=128, description="The order that the callback URL was given for.")]
RunIdHint = Annotated[UUID | None, Query(description="Legacy callbacks only; the task id identifies the run.")]


# An invalid `run_id` is refused before the signature is checked.
@router.post("/sora", openapi_extra=BODY)
async def receive_video_webhook(request: Request, state: AppStateDep, run_id: RunIdHint = None) -> WebhookReceipt:
    """Record that a video has completed or failed. Signed by Standard Webhooks."""
    body, secrets = await request.body(), state.settings.webhook_secrets(OPEN_PROVIDER)
    webhook_id = verify_signature(request.headers, body, secrets, now=datetime.now(UTC))
    event = read_video_event(body)
    if event.type not in VIDEO_EVENT_TYPES:
        return WebhookReceipt(status="ignored")
    is_new = await record_video_webhook(state.services, "sora", OPEN_PROVIDER, webhook_id, event, run_id=run_id)
    return WebhookReceipt(status="accepted" if is_new else "duplicate")


@router.post("/video/{provider}", responses=responses(404, 503), openapi_extra=BODY)
async def receive_vendor_webhook(
    provider: VendorName, request: Request, state: AppStateDep, order: OrderHint = None
) -> WebhookReceipt:
    """Record that the state of a clip has changed. Signed by Standard Webhooks."""
    found = state.services.ledger.find_provider("clip", provider)
    if not isinstance(found, VideoProvider):
        raise ApiError(404, "provider_not_found", f"No provider of clips {provider} is configured.")
    body = await request.body()
    secrets = state.settings.webhook_secrets(provider) or await found.fetch_secrets()
    webhook_id = verify_signature(request.headers, body, secrets, now=datetime.now(UTC))
    event = found.read_event(body)
    is_new = await record_video_webhook(state.services, provider, provider, webhook_id, event, order_key=order)
    return WebhookReceipt(status="accepted" if is_new else "duplicate")


@router.post("/remotion", responses=responses(409), openapi_extra=BODY)
async def receive_render_webhook(request: Request, state: AppStateDep, run_id: UUID) -> WebhookReceipt:
    """Record that a render has completed or failed. Signed by Standard Webhooks or by Remotion Lambda."""
    body = await request.body()
    secrets = state.settings.remotion_webhook_secrets or ()
    if signature := request.headers.get("x-remotion-signature"):
        verify_lambda(signature, body, secrets)
        # Remotion Lambda sends no id: the same body is the same delivery.
        webhook_id = f"lambda:{digest_of(body.decode('utf-8', 'replace'))}"
    else:
        webhook_id = verify_signature(request.headers, body, secrets, now=datetime.now(UTC))
    event = read_render_event(body)
    is_new = await record_render_webhook(state.services, webhook_id, run_id, task_id=event.render_id, kind=event.status)
    if is_new is None:
        raise ApiError(409, "render_not_of_run", "The run has no order for this render.")
    return WebhookReceipt(status="accepted" if is_new else "duplicate")
