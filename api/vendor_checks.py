"""Ask each service of the settings something that costs little or nothing: the checks of `myloware doctor`."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import httpx2
from pydantic import BaseModel

from agents.structured import ask_structured
from api.settings import Settings
from api.wiring import open_artifacts, open_chat_model, open_moderation, open_publisher, open_renderer, open_videos
from prompts.templates import Prompt
from providers.base import ArtifactMissing, Files
from storage.database import Database, open_pool

TIMEOUT_SECONDS = 30.0
QUESTION = Prompt("Answer in JSON.", "Is water wet?")


class _Answer(BaseModel):
    yes: bool


class _NoFiles(Files):
    async def local_path(self, digest: str) -> Path:
        raise ArtifactMissing(digest)


async def check_store(settings: Settings) -> str:
    """Write, read and delete a small object."""
    # The rows are not needed: the pool stays closed.
    await open_artifacts(settings, Database(open_pool(""))).probe()
    return f"{settings.store_url or settings.data_dir / 'artifacts'} was written, read and cleaned"


async def check_model(settings: Settings) -> str:
    """Ask one small question with structured output."""
    async with httpx2.AsyncClient() as client:
        await ask_structured(open_chat_model(settings, client, TIMEOUT_SECONDS), QUESTION, _Answer)
    return f"{settings.openai_model} answered with structured output"


async def check_moderation(settings: Settings) -> str:
    """Moderate a harmless text."""
    async with httpx.AsyncClient() as client:
        await open_moderation(settings, client).check(["Rain on a quiet window"])
    return "a text was moderated"


async def check_video(settings: Settings) -> str:
    """Read what the video server lists."""
    server = settings.video(datetime.now(UTC).date())
    async with httpx.AsyncClient() as client:
        await open_videos(server, client).check()
    profile = server.video.profile
    shutdown = f", shut down on {profile.shutdown}" if profile.shutdown else ""
    updates = "webhooks and polling" if profile.webhooks and server.webhook_secrets else "polling only"
    return f"{server.video.model} at {server.base_url}, {updates}{shutdown}"


async def check_renderer(settings: Settings) -> str:
    """Read the health of the render service."""
    async with httpx.AsyncClient() as client:
        renderer = open_renderer(settings, _NoFiles(), client)
        await renderer.check()
    return f"films are rendered by {renderer.name}"


async def check_publisher(settings: Settings) -> str:
    """Read the history of the publisher, or write to the folder."""
    async with httpx.AsyncClient() as client:
        publisher = open_publisher(settings, _NoFiles(), client)
        await publisher.check()
    return f"films are published by {publisher.name}"


VendorCheck = Callable[[Settings], Awaitable[str]]
#: Check, and the settings to look at when it fails, by name.
VENDOR_CHECKS: dict[str, tuple[VendorCheck, str]] = {
    "store": (check_store, ""),
    "language model": (check_model, "OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_MODEL"),
    "moderation": (check_moderation, "OPENAI_BASE_URL, OPENAI_API_KEY"),
    "video": (check_video, "VIDEO_BASE_URL, VIDEO_API_KEY, VIDEO_MODEL"),
    "renderer": (check_renderer, "REMOTION_URL, REMOTION_SERVICE_KEY"),
    "publisher": (check_publisher, "UPLOAD_POST_API_KEY, UPLOAD_POST_URL, MYLOWARE_PUBLISH_FOLDER"),
}
