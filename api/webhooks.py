"""`/v1/webhooks`: what providers tell us. The event is committed, then acknowledged; what it says is read back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from api.authentication import AppStateDep
from api.errors import ApiError, responses
from api.schemas import WebhookReceipt
from providers.orders import digest_of
from providers.webhooks import (
    InvalidEvent,
    InvalidSignature,
    read_render_event,
    read_video_event,
    verify_lambda,
    verify_signature,
)
from runs.webhook_events import record_render_webhook, record_video_webhook

#: The event types of the reference; others are acknowledged and ignored.
VIDEO_TYPES = ("video.completed", "video.failed")

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=responses(400, 401, 413, 422))

BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}


@router.post("/sora", openapi_extra=BODY)
async def sora(
    request: Request,
    parts: AppStateDep,
    run_id: Annotated[UUID | None, Query(description="Legacy callbacks only; the task id says which run.")] = None,
) -> WebhookReceipt:
    """A video was made, or failed. Signed by Standard Webhooks."""
    body = await request.body()
    try:
        webhook_id = verify_signature(request.headers, body, parts.video_secrets, now=datetime.now(UTC))
        event = read_video_event(body)
    except InvalidSignature as error:
        raise ApiError(401, error.code, error.message) from error
    except InvalidEvent as error:
        raise ApiError(400, error.code, error.message) from error
    if event.type not in VIDEO_TYPES:
        return WebhookReceipt(status="ignored")
    new = await record_video_webhook(
        parts.services, webhook_id, task_id=event.video_id, kind=event.type, event_id=event.event_id, run_id=run_id
    )
    return WebhookReceipt(status="accepted" if new else "duplicate")


@router.post("/remotion", responses=responses(409), openapi_extra=BODY)
async def remotion(request: Request, parts: AppStateDep, run_id: UUID) -> WebhookReceipt:
    """A render is done, or failed. Signed by Standard Webhooks, or by Remotion Lambda's own signature."""
    body = await request.body()
    try:
        if signature := request.headers.get("x-remotion-signature"):
            verify_lambda(signature, body, parts.render_secrets)
            webhook_id = f"lambda:{digest_of(body.decode('utf-8', 'replace'))}"
        else:
            webhook_id = verify_signature(request.headers, body, parts.render_secrets, now=datetime.now(UTC))
        event = read_render_event(body)
    except InvalidSignature as error:
        raise ApiError(401, error.code, error.message) from error
    except InvalidEvent as error:
        raise ApiError(400, error.code, error.message) from error
    new = await record_render_webhook(parts.services, webhook_id, run_id, task_id=event.render_id, kind=event.status)
    if new is None:
        raise ApiError(409, "render_not_of_run", "This run did not ask for that render.")
    return WebhookReceipt(status="accepted" if new else "duplicate")
