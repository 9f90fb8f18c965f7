"""Faults of webhook delivery: lost, delayed, duplicated, stale, forged and contradictory messages."""

import random
import secrets
from dataclasses import dataclass, replace
from typing import Any

from sandbox.faults import FaultQueue
from sandbox.store import Store

#: Seconds between a genuine message and a fault message before or after it.
GAP_SECONDS = 0.25


@dataclass(frozen=True)
class PlannedMessage:
    """One webhook message: a genuine one is retried until it is accepted, any other is sent once.

    `manner` is genuine, stale, forged or odd (well signed but unexpected); `delay` is in seconds.
    """

    event_id: str
    video_id: str
    event_type: str
    manner: str = "genuine"
    delay: float = 0.0


def plan_messages(store: Store, faults: FaultQueue, video_id: str, event_type: str) -> list[PlannedMessage]:
    """Return the messages to send for an event, after the pending faults are applied."""
    genuine = PlannedMessage(_generate_event_id(), video_id, event_type)
    before = _plan_before(faults, genuine)
    genuine = replace(genuine, delay=GAP_SECONDS if before else 0.0)
    if delay := faults.consume("webhook_delay"):
        genuine = replace(genuine, delay=float(delay["seconds"]))
    messages = [genuine]
    if duplicate := faults.consume("webhook_duplicate"):
        messages += [replace(genuine, delay=genuine.delay + GAP_SECONDS)] * int(duplicate["copies"])
    if faults.trigger("webhook_drop"):
        messages = []
    if chances := faults.consume("webhook_random_faults"):
        messages = _apply_random_faults(store, chances, messages)
    if event_type == "video.completed" and faults.trigger("webhook_failed_after_completed"):
        failed = replace(genuine, event_id=_generate_event_id(), event_type="video.failed", manner="odd")
        messages.append(replace(failed, delay=genuine.delay + 2 * GAP_SECONDS))
    return before + messages


def _plan_before(faults: FaultQueue, genuine: PlannedMessage) -> list[PlannedMessage]:
    planned: dict[str, dict[str, Any]] = {
        "webhook_stale": {"manner": "stale", "event_id": genuine.event_id},
        "webhook_forged": {"manner": "forged"},
        "webhook_unknown_type": {"manner": "odd", "event_type": "video.sparkled"},
        "webhook_unknown_video": {"manner": "odd", "video_id": f"video_{secrets.token_hex(16)}"},
    }
    return [
        replace(genuine, **{"event_id": _generate_event_id(), **changes})
        for fault, changes in planned.items()
        if faults.trigger(fault)
    ]


def _apply_random_faults(store: Store, params: dict[str, Any], messages: list[PlannedMessage]) -> list[PlannedMessage]:
    """Drop, duplicate and delay messages at random; the result depends only on the seed and the event count."""
    event_count = int(store.get_setting("random_fault_events", "0")) + 1
    store.set_setting("random_fault_events", str(event_count))
    rng = random.Random(f"{params['seed']}:{event_count}")  # noqa: S311 - not a secret
    remaining = []
    for message in messages:
        is_dropped, is_duplicated = rng.random() < params["drop"], rng.random() < params["duplicate"]
        remaining += [
            replace(message, delay=message.delay + rng.uniform(0, params["delay_max"]))
            for _ in range(0 if is_dropped else 1 + is_duplicated)
        ]
    return remaining


def _generate_event_id() -> str:
    return f"evt_{secrets.token_hex(16)}"
