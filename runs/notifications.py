"""Notifications about runs: which events cause one, its body, and its delivery."""

import asyncio
import json
import logging
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from runs.messages import BUDGET, RETIRING, compose, message_of
from runs.reviews import deadline_of
from runs.services import Services
from storage import deliveries, reviews
from storage.database import Connection

log = logging.getLogger(__name__)

AWAITING, COMPLETED, FAILED = "run.awaiting_approval", "run.completed", "run.failed"
CANCELLED, NEEDS_ATTENTION = "cancel.requested", "run.needs_attention"

#: Events that request an approval, with the reason that the notification states.
REASONS = {"review.opened": "opened", "review.reminded": "reminded", "review.escalated": "escalated"}
REVIEW_FIELDS = ("gate", "revision", "digest", "due_at")

#: Seconds between one attempt to deliver a notification and the next.
RETRY_DELAYS_SECONDS = (1, 5, 30, 120, 600, 3600, 3600, 3600, 3600, 3600, 3600)
#: Each delay varies by up to this share, so that retries do not arrive at once.
JITTER = 0.2
#: The part of a run's error that is sent: the body stays far below 20 kB.
MAX_MESSAGE_CHARACTERS = 2_000


async def enqueue_notifications(services: Services) -> int:
    """Create notifications and review deadlines from the events in the outbox; return the number of events.

    Any process may call this at any time: an event is processed once, and sent once to each URL and messenger.
    """
    targets = services.notification_targets
    async with services.db.transaction() as conn:
        events = await deliveries.take_outbox_events(conn)
        for event in events:
            due_at = await _set_deadline(services, conn, event) if event.kind == "review.opened" else None
            escalation_urls = targets.escalation_urls if event.kind == "review.escalated" else ()
            kind, data = _content(event)
            if due_at:
                data["due_at"] = due_at.isoformat()
            content = {"type": kind, "timestamp": event.created_at.astimezone(UTC).isoformat(), "data": data}
            bodies = dict.fromkeys((*targets.urls, *escalation_urls), json.dumps(content, ensure_ascii=False))
            if message := targets.messengers and compose(services, event, kind, data):
                bodies |= dict.fromkeys(targets.messengers, message)
            for url, body in bodies.items():
                message_id = f"msg_{uuid4().hex}"
                await deliveries.add_delivery(conn, id=message_id, event=event.id, url=url, kind=kind, body=body)
    return len(events)


async def send_due_notifications(services: Services) -> int:
    """Send the notifications that are due; return the number of attempts."""
    due = await deliveries.claim_due(services.db)
    await asyncio.gather(*(_send(services, delivery) for delivery in due))
    return len(due)


def retry_delay_seconds(attempts: int) -> float | None:
    """Return the seconds until the next attempt after so many; None after the last one."""
    if attempts > len(RETRY_DELAYS_SECONDS):
        return None
    return RETRY_DELAYS_SECONDS[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret


async def _set_deadline(services: Services, conn: Connection, event: deliveries.OutboxEvent) -> datetime | None:
    """Set the deadline of the opened review, if its project has one."""
    assert event.run_id is not None  # noqa: S101 - a review belongs to a run
    gate, revision = event.payload["gate"], event.payload["revision"]
    deadline = deadline_of(services.projects, event.project, gate)
    if deadline is None:
        return None
    opened_at, after = event.created_at, timedelta(hours=deadline.due_hours)
    return await reviews.set_deadline(
        conn, event.run_id, gate, revision, opened_at=opened_at, after=after, on_due=deadline.on_due
    )


def _content(event: deliveries.OutboxEvent) -> tuple[str, dict[str, Any]]:
    """Return the type of the notification and its data."""
    payload, run_id = event.payload, str(event.run_id)
    if reason := REASONS.get(event.kind):
        data = {"run_id": run_id, "status": f"awaiting_{payload['gate']}_approval", "reason": reason}
        return AWAITING, data | {key: payload[key] for key in REVIEW_FIELDS if key in payload}
    if event.kind == COMPLETED:
        return COMPLETED, {"run_id": run_id, "status": "completed"}
    if event.kind in (BUDGET, RETIRING):
        return event.kind, payload | ({"run_id": run_id} if event.run_id else {})
    if event.kind == NEEDS_ATTENTION:
        return NEEDS_ATTENTION, {"run_id": run_id, **payload}
    error = {"code": "cancelled", "message": "The run was cancelled."} if event.kind == CANCELLED else payload
    message = str(error["message"])[:MAX_MESSAGE_CHARACTERS]
    return FAILED, {"run_id": run_id, "status": "failed", "error": {"code": error["code"], "message": message}}


async def _send(services: Services, delivery: deliveries.DeliveryRow) -> None:
    db, targets, delivery_id = services.db, services.notification_targets, delivery.id
    if messenger := targets.messengers.get(delivery.url):
        sent = await messenger.send(await message_of(services, delivery))
    elif targets.sender and delivery.url in (*targets.urls, *targets.escalation_urls):
        sent = await targets.sender.send(delivery.url, id=delivery_id, body=delivery.body.encode())
    else:
        await deliveries.record_attempt(db, delivery_id, "abandoned", "the URL is no longer in the settings")
        return
    delay = retry_delay_seconds(delivery.attempts)
    match sent.outcome:
        case "delivered":
            await deliveries.record_attempt(db, delivery_id, "delivered", sent.response)
        case "later" if delay is not None:
            after = timedelta(seconds=max(delay, sent.wait_seconds))
            await deliveries.record_attempt(db, delivery_id, "waiting", sent.response, retry_in=after)
        case "gone":
            log.warning("notification %s: the endpoint answered 410 and is disabled", delivery_id)
            await deliveries.disable_endpoint(db, delivery.url, sent.response)
        case _:
            log.warning("notification %s is abandoned: %s", delivery_id, sent.response)
            await deliveries.record_attempt(db, delivery_id, "abandoned", sent.response)
