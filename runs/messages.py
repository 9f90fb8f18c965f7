"""Messages about what needs a person, for Slack and Telegram: the words, the picture, and what is announced by date."""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from providers.base import ArtifactChanged, ArtifactMissing, InvalidClip, ProviderError
from providers.media.video_frames import draw_poster
from providers.messengers import Message
from runs.links import artifact_link
from runs.services import Services
from storage import deliveries

BUDGET, RETIRING = "budget.nearly_used", "model.retiring"
#: The share of a cap that counts as nearly used, and how long before its date the end of a model is announced.
NEARLY, RETIRING_WITHIN = Decimal("0.9"), timedelta(days=30)
#: The part of a text by a person, a model or a vendor that is quoted, and the width of the picture in pixels.
MAX_QUOTED_CHARACTERS, PICTURE_WIDTH_PX = 200, 480
HEADS = {"opened": "Review wanted", "reminded": "Review overdue", "escalated": "Review overdue and escalated"}


async def announce_dates_and_budgets(services: Services) -> None:
    """Record an event, once each, for caps that are nearly used and for video models that are shut down soon.

    The cap of the day counts once a day, that of a run once. Without a receiver nothing is recorded.
    """
    targets, today = services.notification_targets, datetime.now(UTC).date()
    if not targets.urls and not targets.messengers:
        return
    models = [
        {"provider": each.provider, "model": each.profile.model, "shutdown": each.profile.shutdown.isoformat()}
        for each in services.video.models
        if each.profile.shutdown and today <= each.profile.shutdown <= today + RETIRING_WITHIN
    ]
    await deliveries.announce(services.db, services.ledger.caps.day_usd, NEARLY, models)


def compose(services: Services, event: deliveries.OutboxEvent, kind: str, data: Mapping[str, Any]) -> str | None:
    """Return the body of a delivery to messengers, as JSON; None if the event needs no person."""
    text = _describe(event, kind, data)
    if text is None:
        return None
    targets, page = services.notification_targets, {BUDGET: "/costs", RETIRING: "/doctor"}.get(kind)
    gate = data.get("gate")
    if event.run_id:
        page = f"/runs/{event.run_id}/{gate}" if gate else f"/runs/{event.run_id}"
        text = f"{text}\nBrief: {_quote(event.brief)}"
    sandbox = f"[sandbox: {', '.join(targets.sandbox)}] " if targets.sandbox else ""
    film = event.film if gate == "publish" else None
    return json.dumps({"text": f"{sandbox}{text}", "link": f"{targets.base_url}{page}", "film": film})


async def message_of(services: Services, delivery: deliveries.DeliveryRow) -> Message:
    """Return the message of a delivery. Where the film cannot be read, it has no picture."""
    body, base_url = json.loads(delivery.body), services.notification_targets.base_url
    # A service may deliver a message twice; both then end in the same number.
    message = Message(f"{body['text']}\nNotification {delivery.id[4:12]}", body["link"])
    if film := body["film"]:
        with suppress(ProviderError, OSError):
            picture = await draw_picture(services, film["digest"], film, PICTURE_WIDTH_PX, "JPEG")
            can_be_fetched = base_url.startswith("https://")
            url = await _store_picture(services, picture, base_url) if picture and can_be_fetched else None
            return replace(message, picture=picture, picture_url=url)
    return message


async def draw_picture(
    services: Services, digest: str, shape: Mapping[str, Any], width_px: int, file_type: str
) -> bytes | None:
    """Return a picture of a stored clip or film with the ratio of `width` and `height`; None if it cannot be read."""
    sides = [int(side) if (side := str(shape.get(name))).isdecimal() else 0 for name in ("width", "height")]
    ratio = sides[1] / sides[0] if all(sides) else 16 / 9
    try:
        path = await services.artifacts.local_path(digest)
        return await asyncio.to_thread(draw_poster, path, width_px, round(width_px * ratio / 2) * 2, file_type)
    except (ArtifactChanged, ArtifactMissing, InvalidClip):
        return None


async def _store_picture(services: Services, picture: bytes, base_url: str) -> str:
    """Store the picture and return a link to it, for a day, that needs no key: Slack fetches it from there."""
    with tempfile.NamedTemporaryFile(dir=services.scratch) as file:
        path = Path(file.name)
        path.write_bytes(picture)
        digest = await services.artifacts.store(path, kind="poster", media_type="image/jpeg", facts={})
    return await artifact_link(services.db, digest, base_url)


def _describe(event: deliveries.OutboxEvent, kind: str, data: Mapping[str, Any]) -> str | None:
    run = f"run {str(event.run_id)[:8]} ({event.project})"
    match kind:
        case "run.awaiting_approval":
            what = "the film" if data["gate"] == "publish" else "the ideas"
            due = f" Due {data['due_at'][:16]} UTC." if "due_at" in data else ""
            return f"{HEADS[data['reason']]}: {what} of {run}, revision {data['revision']}.{due}"
        case "run.needs_attention":
            return f"Needs attention: {run} waits for {data['what']}. The last answer: {_quote(data['message'])}"
        case "run.failed" if data["error"]["code"] not in ("rejected", "cancelled"):
            return f"Failed: {run}. {_quote(data['error']['message'])}"
        case "budget.nearly_used":
            of = f" by {run}" if event.run_id else ""
            return f"Budget nearly used{of}: {data['usd']} USD of {data['cap']} of {data['cap_usd']} USD."
        case "model.retiring":
            return (
                f"{data['model']} of {data['provider']} is shut down on {data['shutdown']}: choose another video model."
            )
    return None


def _quote(text: str) -> str:
    """Return the start of a text on one line, in quotation marks."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return f"“{line if len(line) <= MAX_QUOTED_CHARACTERS else line[: MAX_QUOTED_CHARACTERS - 1] + '…'}”"
