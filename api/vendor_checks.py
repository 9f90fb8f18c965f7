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
from providers.base import ArtifactMissing, Files, Provider
from storage.database import Database, open_pool

TIMEOUT_SECONDS = 30.0
QUESTION = Prompt("Answer in JSON.", "Is water wet?")


class _Answer(BaseModel):
    yes: bool


class _NoFiles(Files):
    async def local_path(self, digest: str) -> Path:
        raise ArtifactMissing(digest)


async def _check_store(settings: Settings) -> str:
    # The rows are not needed: the pool stays closed.
    await open_artifacts(settings, Database(open_pool(""))).probe()
    return f"{settings.store_url or settings.data_dir / 'artifacts'} was written, read and cleaned"


async def _check_model(settings: Settings) -> str:
    async with httpx2.AsyncClient() as client:
        await ask_structured(open_chat_model(settings, client, TIMEOUT_SECONDS), QUESTION, _Answer)
    return f"{settings.openai_model} answered with structured output"


async def _check_moderation(settings: Settings) -> str:
    async with httpx.AsyncClient() as client:
        await open_moderation(settings, client).check(["Rain on a quiet window"])
    return "a text was moderated"


async def _check_video(settings: Settings) -> str:
    server = settings.video(datetime.now(UTC).date())
    await _check_provider(lambda client: open_videos(server, client))
    profile = server.video.profile
    shutdown = f", shut down on {profile.shutdown}" if profile.shutdown else ""
    updates = "webhooks and polling" if profile.webhooks and settings.video_webhook_secrets else "polling only"
    return f"{server.video.model} at {server.base_url}, {updates}{shutdown}"


async def _check_provider(open_provider: Callable[[httpx.AsyncClient], Provider]) -> str:
    """Return the name of a provider that answers."""
    async with httpx.AsyncClient() as client:
        provider = open_provider(client)
        await provider.check()
    return provider.name


VendorCheck = Callable[[Settings], Awaitable[str]]
#: By name: the check, and the settings to look at when it fails.
VENDOR_CHECKS: dict[str, tuple[VendorCheck, str]] = {
    "store": (_check_store, ""),
    "language model": (_check_model, "OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_MODEL"),
    "moderation": (_check_moderation, "OPENAI_BASE_URL, OPENAI_API_KEY"),
    "video": (_check_video, "VIDEO_BASE_URL, VIDEO_API_KEY, VIDEO_MODEL"),
    "renderer": (
        lambda settings: _check_provider(lambda client: open_renderer(settings, _NoFiles(), client)),
        "REMOTION_URL, REMOTION_SERVICE_KEY",
    ),
    "publisher": (
        lambda settings: _check_provider(lambda client: open_publisher(settings, _NoFiles(), client)),
        "UPLOAD_POST_API_KEY, UPLOAD_POST_URL, MYLOWARE_PUBLISH_FOLDER",
    ),
}
