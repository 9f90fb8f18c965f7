"""Tell the outside what happens to runs: which events become notices, in what words, and how they are sent."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from runs.reviews import deadline_of
from runs.services import Services
from storage import deliveries, reviews
from storage.database import Connection
from storage.deliveries import DeliveryRow, OutboxEvent

log = logging.getLogger(__name__)

AWAITING, COMPLETED, FAILED = "run.awaiting_approval", "run.completed", "run.failed"

CANCELLED = "cancel.requested"

#: What is said outside of each kind of event; with the words for why somebody is asked.
ASKING = {"review.opened": "opened", "review.reminded": "reminded", "review.escalated": "escalated"}
ENDING = {"run.completed": COMPLETED, "run.failed": FAILED, CANCELLED: FAILED}

#: Seconds between one try of a notice and the next.
RETRY_DELAYS_SECONDS = (1, 5, 30, 120, 600, 3600, 3600, 3600, 3600, 3600, 3600)
#: Each pause is made longer or shorter by up to this share, so that not everything comes back at once.
JITTER = 0.2
#: How much of a run's error is repeated outside: the whole body stays far below 20 kB.
MESSAGE_LIMIT = 2_000


async def enqueue_notifications(services: Services) -> int:
    """Make notices, and due times, of what happened since; how many events that were.

    Called at any time by any process: an event is taken once, and told to an address once.
    """
    async with services.db.transaction() as conn:
        events = await deliveries.take_outbox_events(conn)
        for event in events:
            due_at = await _due(services, conn, event) if event["kind"] == "review.opened" else None
            urls = _addressees(services, event["kind"])
            if not urls:
                continue
            kind, data = _said(event)
            if due_at:
                data["due_at"] = due_at.isoformat()
            body = json.dumps(
                {"type": kind, "timestamp": event["created_at"].astimezone(UTC).isoformat(), "data": data},
                ensure_ascii=False,
            )
            for url in urls:
                await deliveries.add_delivery(
                    conn, id=f"msg_{uuid4().hex}", event=event["id"], url=url, kind=kind, body=body
                )
    return len(events)


async def send_due_notifications(services: Services) -> int:
    """Send the notices whose time has come; how many were tried."""
    due = await deliveries.claim_due(services.db)
    await asyncio.gather(*(_send(services, delivery) for delivery in due))
    return len(due)


def _addressees(services: Services, kind: str) -> list[str]:
    outside = services.notification_targets
    urls = (*outside.urls, *(outside.escalation if kind == "review.escalated" else ()))
    return list(dict.fromkeys(urls))


async def _due(services: Services, conn: Connection, event: OutboxEvent) -> datetime | None:
    """Give the review that was opened its due time, if its project says so."""
    gate = event["payload"]["gate"]
    deadline = deadline_of(services, event["project"], gate)
    if deadline is None:
        return None
    return await reviews.set_deadline(
        conn,
        event["run_id"],
        gate,
        event["payload"]["revision"],
        opened_at=event["created_at"],
        after=timedelta(hours=deadline.due_hours),
        on_due=deadline.on_due,
    )


def _said(event: OutboxEvent) -> tuple[str, dict[str, Any]]:
    """The type of the notice, and its data."""
    said, run_id = event["payload"], str(event["run_id"])
    if why := ASKING.get(event["kind"]):
        data = {"run_id": run_id, "status": f"awaiting_{said['gate']}_approval", "why": why}
        return AWAITING, data | {key: said[key] for key in ("gate", "revision", "digest", "due_at") if key in said}
    kind = ENDING[event["kind"]]
    if kind == COMPLETED:
        return kind, {"run_id": run_id, "status": "completed"}
    error = {"code": "cancelled", "message": "The run was cancelled."} if event["kind"] == CANCELLED else said
    message = str(error["message"])[:MESSAGE_LIMIT]
    return kind, {"run_id": run_id, "status": "failed", "error": {"code": error["code"], "message": message}}


async def _send(services: Services, delivery: DeliveryRow) -> None:
    db, outside, id_ = services.db, services.notification_targets, delivery["id"]
    if outside.sender is None or delivery["url"] not in (*outside.urls, *outside.escalation):
        await deliveries.abandon(db, id_, "the address is not in the settings any more")
        return
    sent = await outside.sender.send(delivery["url"], id=id_, body=delivery["body"].encode())
    pause = retry_delay_seconds(delivery["tries"])
    match sent.outcome:
        case "delivered":
            await deliveries.mark_delivered(db, id_, sent.answer)
        case "later" if pause is not None:
            await deliveries.reschedule(db, id_, timedelta(seconds=max(pause, sent.wait)), sent.answer)
        case "gone":
            log.warning("notice %s: the address answered 410 and is told nothing more", id_)
            await deliveries.disable_endpoint(db, delivery["url"], sent.answer)
        case _:
            log.warning("notice %s is given up: %s", id_, sent.answer)
            await deliveries.abandon(db, id_, sent.answer)


def retry_delay_seconds(tries: int) -> float | None:
    """The seconds until the next try after so many; None after the last."""
    if tries > len(RETRY_DELAYS_SECONDS):
        return None
    return RETRY_DELAYS_SECONDS[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - it only spreads them
