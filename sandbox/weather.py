"""Weather: how an event travels, given the faults of the day: lost, late, twice, or in bad company."""

import random
import secrets
from dataclasses import dataclass, replace

from sandbox.faults import Faults
from sandbox.store import Store

#: So long after a trick the true event follows, or a trick after the true event.
GAP = 0.25


@dataclass(frozen=True)
class Planned:
    """One message to send: genuine ones are repeated until they are taken, others are sent once."""

    event_id: str
    video_id: str
    event: str
    manner: str = "genuine"
    delay: float = 0.0


def plan(store: Store, faults: Faults, video_id: str, event: str) -> list[Planned]:
    """The messages an event becomes."""
    true = Planned(_event_id(), video_id, event)
    before = _tricks_before(faults, true)
    true = replace(true, delay=GAP if before else 0.0)
    if delay := faults.take("webhook_delay"):
        true = replace(true, delay=float(delay["seconds"]))
    messages = [true]
    if duplicate := faults.take("webhook_duplicate"):
        messages += [replace(true, delay=true.delay + GAP)] * int(duplicate["copies"])
    if faults.happens("webhook_drop"):
        messages = []
    if faults.standing("webhook_weather"):
        messages = _weathered(store, faults, messages)
    return before + messages + _tricks_after(faults, true)


def _tricks_before(faults: Faults, true: Planned) -> list[Planned]:
    tricks = []
    if faults.happens("webhook_stale"):
        tricks.append(replace(true, manner="stale"))
    if faults.happens("webhook_forged"):
        tricks.append(replace(true, event_id=_event_id(), manner="forged"))
    if faults.happens("webhook_unknown_type"):
        tricks.append(replace(true, event_id=_event_id(), event="video.sparkled", manner="odd"))
    if faults.happens("webhook_unknown_video"):
        unknown = f"video_{secrets.token_hex(16)}"
        tricks.append(replace(true, event_id=_event_id(), video_id=unknown, manner="odd"))
    return tricks


def _tricks_after(faults: Faults, true: Planned) -> list[Planned]:
    if true.event == "video.completed" and faults.happens("webhook_failed_after_completed"):
        late = true.delay + 2 * GAP
        return [replace(true, event_id=_event_id(), event="video.failed", manner="odd", delay=late)]
    return []


def _weathered(store: Store, faults: Faults, messages: list[Planned]) -> list[Planned]:
    """Loses, doubles and delays by chance; the same seed and the same events give the same weather."""
    params = faults.standing("webhook_weather") or {}
    rolls = int(store.setting("weather_rolls", "0")) + 1
    store.keep_setting("weather_rolls", str(rolls))
    chance = random.Random(f"{params['seed']}:{rolls}")  # noqa: S311 - no secret
    travelled = []
    for message in messages:
        lost, doubled = chance.random() < params["drop"], chance.random() < params["duplicate"]
        for _ in range((0 if lost else 1) + (1 if doubled and not lost else 0)):
            late = chance.uniform(0, params["delay_max"])
            travelled.append(replace(message, delay=message.delay + late))
    return travelled


def _event_id() -> str:
    return f"evt_{secrets.token_hex(16)}"
