"""The checks of `myloware doctor` and of the console: every service is checked."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import httpx2
import psutil
from pydantic import BaseModel

from agents.roles import moderate, screen_brief
from api import wiring
from api.checked_settings import VideoAccount, check_settings
from api.settings import Service, Settings
from prompts.project import FOLDER, read_project
from providers.base import ArtifactMissing, Files, Provider, ProviderError
from providers.notifications import notification_client
from storage.database import Database, open_pool
from storage.migrate import DatabaseUnusable

SHORTS, BRIEF = read_project(FOLDER / "shorts.md"), "Rain on a quiet window at night"
MIN_FREE_GIB = 2
MODELS: Service = "language model and moderation"
#: The service that the sandbox can replace, by the name of its check.
SERVICES = {"language model": MODELS, "moderation": MODELS, "video": "video", "publisher": "publishing"}
#: A check returns what it found, and raises an error with what is wrong.
RunCheck = Callable[[Settings], Awaitable[str]]


class Check(BaseModel):
    """The result of a check."""

    check: str
    ok: bool
    message: str


class _NoFiles(Files):
    async def local_path(self, digest: str) -> Path:
        raise ArtifactMissing(digest)


async def run_checks(settings: Settings, database: dict[str, RunCheck]) -> list[Check]:
    """Return the results of the check of the database and of all others, in this order. They run at the same time."""
    checks = {**{name: (check, "") for name, check in database.items()}, **CHECKS}
    return await asyncio.gather(*(_run_check(name, check, settings, hint) for name, (check, hint) in checks.items()))


async def _run_check(name: str, check: RunCheck, settings: Settings, to_set: str) -> Check:
    """Return the result of a check; `to_set` are the settings to look at when it fails."""
    try:
        message = "sandbox" if SERVICES.get(name) in settings.missing_services else await check(settings)
        return Check(check=name, ok=True, message=message)
    except ProviderError as error:
        message = f"{error.message} Check {to_set}." if to_set else error.message
    except (ValueError, DatabaseUnusable) as error:
        message = str(error)
    except Exception as error:
        # The driver's message is what a person needs; it contains no password.
        message = f"not usable: {type(error).__name__}: {str(error).splitlines()[0]}"
    return Check(check=name, ok=False, message=message)


async def _check_projects(settings: Settings) -> str:
    if "video" in settings.missing_services:
        return ", ".join(sorted(settings.offered_projects or settings.projects()))
    checked = check_settings(settings)
    refusals = checked.refusals()
    refused = [f"{name} is refused: {error.message} ({error.code})" for name, error in sorted(refusals.items())]
    message = " ".join([", ".join(sorted(checked.offered - refusals.keys())) or "None can be started.", *refused])
    if len(refused) == len(checked.offered):
        raise ValueError(message)
    return message


async def _check_disk(settings: Settings) -> str:
    path = settings.data_dir.absolute()
    folder = next(each for each in (path, *path.parents) if each.exists())
    free_gib = psutil.disk_usage(str(folder)).free / 2**30
    message = f"{free_gib:.1f} GiB free for {settings.data_dir}"
    if free_gib <= MIN_FREE_GIB:
        raise ValueError(message)
    return message


async def _check_store(settings: Settings) -> str:
    # The rows are not needed: the pool stays closed.
    await wiring.open_artifacts(settings, Database(open_pool(""))).probe()
    return f"{settings.store_url or settings.data_dir / 'artifacts'} was written, read and cleaned"


async def _check_model(settings: Settings) -> str:
    async with httpx2.AsyncClient() as client:
        await screen_brief(wiring.open_chat_model(settings, client), SHORTS, BRIEF)
    return f"{settings.openai_model} answered with structured output"


async def _check_moderation(settings: Settings) -> str:
    async with httpx.AsyncClient() as client, httpx2.AsyncClient() as model_client:
        moderation = wiring.open_moderation(settings, client)
        if moderation == "none":
            return "none: no text is checked, and every review says so"
        if moderation == "model":
            await moderate(wiring.open_chat_model(settings, model_client), [BRIEF])
            return f"by {settings.openai_model}"
        await moderation.check([BRIEF])
    return f"a text was moderated by {settings.moderation_model}"


async def _check_video(settings: Settings) -> str:
    return "; ".join([await _check_account(settings, account) for account in check_settings(settings).accounts])


async def _check_account(settings: Settings, account: VideoAccount) -> str:
    name = await _check_provider(lambda client: wiring.open_video_provider(settings, account, client))
    models = [model for profile in account.profiles for model in profile.models]
    dates = [f", shut down on {profile.shutdown}" for profile in account.profiles if profile.shutdown]
    updates = "webhooks and polling" if wiring.is_announced(settings, account) else "polling only"
    old = "" if account.is_offered else ", for older orders only"
    return f"{', '.join(models)} at {account.base_url or name}, {updates}{''.join(dates)}{old}"


async def _check_provider(open_provider: Callable[[httpx.AsyncClient], Provider]) -> str:
    """Return the name of a provider that answers."""
    async with httpx.AsyncClient() as client:
        provider = open_provider(client)
        await provider.check()
    return provider.name


async def _check_publishers(settings: Settings) -> str:
    names = [each.publisher for each in settings.projects().values() if each.publisher]
    async with httpx.AsyncClient() as client:
        publishers = wiring.open_publishers(settings, _NoFiles(), client, names)
        used = {each.name: each for each in (publishers[name] for name in (next(iter(publishers)), *names))}
        for publisher in used.values():
            await publisher.check()
    return "; ".join(used)


async def _check_signature(settings: Settings) -> str:
    leaf = wiring.open_signing_key(settings).leaf
    name = leaf.subject.rfc4514_string()
    note = "" if settings.c2pa_certificate else ": readers call it untrusted, set C2PA_CERTIFICATE and C2PA_KEY"
    return f"films are signed by {name}, valid until {leaf.not_valid_after_utc:%Y-%m-%d}{note}"


async def _check_messengers(settings: Settings) -> str:
    async with notification_client() as client:
        found = [await messenger.check() for messenger in wiring.open_messengers(settings, client)]
    return "; ".join(found) or "neither Slack nor Telegram is set"


#: By name: the check, and the settings to look at when it fails.
CHECKS: dict[str, tuple[RunCheck, str]] = {
    "projects": (_check_projects, ""),
    "disk": (_check_disk, ""),
    "store": (_check_store, ""),
    "language model": (_check_model, ""),
    "moderation": (_check_moderation, "MODERATION_BASE_URL, MODERATION_API_KEY; by default those of OPENAI_…"),
    "video": (_check_video, "VIDEO_BASE_URL, VIDEO_API_KEY, VIDEO_MODEL"),
    "renderer": (
        lambda settings: _check_provider(lambda client: wiring.open_renderer(settings, _NoFiles(), client)),
        "REMOTION_URL, REMOTION_SERVICE_KEY",
    ),
    "signature": (_check_signature, ""),
    "messengers": (_check_messengers, ""),
    "publisher": (_check_publishers, "UPLOAD_POST_API_KEY, UPLOAD_POST_URL, MYLOWARE_PUBLISH_FOLDER"),
}
