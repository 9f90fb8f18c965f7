"""`/v1/webhooks`: events of the providers, verified, committed and acknowledged. The order is then polled."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request

from api.authentication import AppStateDep
from api.errors import ApiError, responses
from api.schemas import WebhookReceipt
from providers.orders import digest_of
from providers.webhooks import (
    RenderEvent,
    VideoEvent,
    read_render_event,
    read_video_event,
    verify_lambda,
    verify_signature,
)
from runs.webhook_events import record_render_webhook, record_video_webhook

E = TypeVar("E")

#: Event types of the API reference; other types are acknowledged and ignored.
VIDEO_EVENT_TYPES = ("video.completed", "video.failed")

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=responses(400, 401, 413, 422))

BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}


@dataclass(frozen=True)
class VerifiedWebhook(Generic[E]):
    """A delivery with a valid signature: its id and its event."""

    id: str
    event: E


# The verifiers declare `run_id`, too: an invalid one is refused before the signature is checked.
RunIdHint = Annotated[UUID | None, Query(description="Legacy callbacks only; the task id identifies the run.")]


async def verify_video_webhook(
    request: Request, state: AppStateDep, run_id: RunIdHint = None
) -> VerifiedWebhook[VideoEvent]:
    """Verify the Standard Webhooks signature. Raises InvalidSignature (401) or InvalidEvent (400)."""
    body = await request.body()
    webhook_id = verify_signature(request.headers, body, state.video_secrets, now=datetime.now(UTC))
    return VerifiedWebhook(webhook_id, read_video_event(body))


async def verify_render_webhook(request: Request, state: AppStateDep, run_id: UUID) -> VerifiedWebhook[RenderEvent]:
    """Verify the signature of Standard Webhooks or Remotion Lambda. Raises as `verify_video_webhook`."""
    body = await request.body()
    if signature := request.headers.get("x-remotion-signature"):
        verify_lambda(signature, body, state.render_secrets)
        # Remotion Lambda sends no id: the same body is the same delivery.
        webhook_id = f"lambda:{digest_of(body.decode('utf-8', 'replace'))}"
    else:
        webhook_id = verify_signature(request.headers, body, state.render_secrets, now=datetime.now(UTC))
    return VerifiedWebhook(webhook_id, read_render_event(body))


VideoWebhook = Annotated[VerifiedWebhook[VideoEvent], Depends(verify_video_webhook)]
RenderWebhook = Annotated[VerifiedWebhook[RenderEvent], Depends(verify_render_webhook)]


@router.post("/sora", openapi_extra=BODY)
async def receive_video_webhook(state: AppStateDep, webhook: VideoWebhook, run_id: RunIdHint = None) -> WebhookReceipt:
    """Record that a video has completed or failed. Signed by Standard Webhooks."""
    event = webhook.event
    if event.type not in VIDEO_EVENT_TYPES:
        return WebhookReceipt(status="ignored")
    is_new = await record_video_webhook(
        state.services, webhook.id, task_id=event.video_id, kind=event.type, event_id=event.event_id, run_id=run_id
    )
    return WebhookReceipt(status="accepted" if is_new else "duplicate")


@router.post("/remotion", responses=responses(409), openapi_extra=BODY)
async def receive_render_webhook(state: AppStateDep, webhook: RenderWebhook, run_id: UUID) -> WebhookReceipt:
    """Record that a render has completed or failed. Signed by Standard Webhooks or by Remotion Lambda."""
    event = webhook.event
    is_new = await record_render_webhook(state.services, webhook.id, run_id, task_id=event.render_id, kind=event.status)
    if is_new is None:
        raise ApiError(409, "render_not_of_run", "The run has no order for this render.")
    return WebhookReceipt(status="accepted" if is_new else "duplicate")
