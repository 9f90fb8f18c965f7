"""Puts the parts together. Only this module names concrete providers, and `studio.py` for debugging in Studio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import httpx2
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from api.settings import FolderPublisher, Settings, SettingsError, UploadPostPublisher, VideoServer
from chat.turns import TurnRunner
from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from prompts.project import Project, ProjectError
from providers.base import Files, Provider
from providers.chat_models import chat_model
from providers.media.clips import accept_clip
from providers.moderation import Moderation
from providers.notifications import NotificationSender, notification_client
from providers.publications.folder import Folder
from providers.publications.upload_post import UploadPost
from providers.renders.embedded import EmbeddedRenders
from providers.renders.remotion import RemotionRenders
from providers.video_profiles import ProfileError
from providers.videos import Videos
from providers.webhooks import Secret
from runs.queue import Queue
from runs.run_feedback import RunFeedback
from runs.services import NotificationTargets, Services
from storage import api_keys, deliveries
from storage.admission import Caps
from storage.artifacts import Artifacts
from storage.database import Database, open_pool
from storage.ledger import Ledger
from storage.locks import Locks
from storage.migrate import DatabaseUnusable, migrate
from storage.saver import Saver

MODEL_SECONDS = 120.0
POOL_SIZE = 20


@dataclass(frozen=True)
class AppState:
    """A production with its queue, and what the doors need beside it."""

    services: Services
    queue: Queue
    model: BaseChatModel
    turns: TurnRunner
    video_secrets: tuple[Secret, ...]
    render_secrets: tuple[Secret, ...]
    rate_limit: int
    #: Where people reach this service, if that is not where it is asked.
    public_url: str | None
    #: A key made because there was none: to be shown once, and nowhere kept.
    new_key: str | None


@dataclass(frozen=True)
class CheckedSettings:
    """What can be said to be wrong before anything is opened, and is not."""

    projects: dict[str, Project]
    video: VideoServer


def check_settings(settings: Settings) -> CheckedSettings:
    """Read everything that the settings name. Raises SettingsError: one sentence that names the place."""
    try:
        projects = settings.projects()
        server = settings.video(datetime.now(UTC).date())
    except (ProjectError, ProfileError) as error:
        raise SettingsError(str(error)) from error
    for project in projects.values():
        try:
            server.video.check(project.clip_seconds, project.clip_size)
        except ProfileError as error:
            raise SettingsError(f"{project.name}.md: {error.message}") from error
        if not settings.notify_escalate_urls and any(gate.on_due == "escalate" for gate in project.gates.values()):
            raise SettingsError(
                f"{project.name}.md: a gate escalates when it is due, and MYLOWARE_NOTIFY_ESCALATE_URLS names nobody."
            )
    return CheckedSettings(projects, server)


@asynccontextmanager
async def open_app_state(settings: Settings) -> AsyncIterator[AppState]:
    """The parts, opened; closed again with the block. `settings` must be complete: see `cli/local.py`.

    Raises SettingsError for a setting that cannot be used.
    """
    checked = check_settings(settings)
    if settings.database_url is None:
        raise SettingsError("DATABASE_URL: there is no database.")
    dsn = settings.database_url.get_secret_value()
    try:
        await migrate(dsn)
    except DatabaseUnusable as error:
        raise SettingsError(f"DATABASE_URL: {error}") from error
    scratch = settings.data_dir.absolute() / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        locks = await stack.enter_async_context(Locks(dsn))
        pool = await stack.enter_async_context(open_pool(dsn, min_size=2, max_size=POOL_SIZE, name=locks.worker_id))
        client = await stack.enter_async_context(httpx.AsyncClient())
        model_client = await stack.enter_async_context(httpx2.AsyncClient())
        db, queue = Database(pool), Queue()
        await stack.enter_async_context(queue.sending(pool))
        store = settings.store_url or settings.data_dir.absolute() / "artifacts"
        artifacts = Artifacts(db, store, settings.data_dir.absolute() / "cache")
        ledger = Ledger(
            db,
            {
                "clip": _videos(checked.video, client),
                "render": _renderer(settings, artifacts, client),
                "publication": _publisher(settings, artifacts, client),
            },
            Caps(
                day_usd=settings.day_cap_usd,
                project_day_usd={
                    name: project.day_budget_usd
                    for name, project in checked.projects.items()
                    if project.day_budget_usd is not None
                },
            ),
            _token_price(settings),
        )
        server = settings.models
        model = chat_model(
            base_url=server.base_url,
            api_key=server.api_key.get_secret_value(),
            model=server.model,
            http_async_client=model_client,
            timeout=MODEL_SECONDS,
        )
        deps = Dependencies(
            project=lambda name, options: checked.projects[name].with_options(options),
            model=model,
            moderation=Moderation(server.base_url, server.api_key.get_secret_value(), client),
            video=checked.video.video,
            ledger=ledger,
            feedback=RunFeedback(db),
        )
        services = Services(
            db=db,
            ledger=ledger,
            locks=locks,
            artifacts=artifacts,
            projects=checked.projects,
            video=checked.video.video,
            run_graph=build_run_graph(deps),
            new_saver=lambda: Saver(pool),
            wakeups=queue,
            scratch=scratch,
            notification_targets=await stack.enter_async_context(_outside(settings)),
        )
        await ledger.adopt()
        await deliveries.enable_endpoints(db)
        await api_keys.sync_settings_keys(
            db,
            [_open(key) for key in settings.api_keys or []],
            [_open(key) for key in settings.limited_api_keys or []],
        )
        yield AppState(
            services=services,
            queue=queue,
            model=model,
            turns=await stack.enter_async_context(TurnRunner()),
            video_secrets=checked.video.webhook_secrets,
            render_secrets=settings.render_secrets,
            rate_limit=settings.rate_limit,
            public_url=settings.public_url,
            new_key=await api_keys.generate_first_key(db),
        )


def _videos(server: VideoServer, client: httpx.AsyncClient) -> Provider:
    return Videos(server.base_url, _open(server.api_key), server.video.profile, client, accept_clip)


def _renderer(settings: Settings, files: Files, client: httpx.AsyncClient) -> Provider:
    if settings.remotion_url is None:
        return EmbeddedRenders(files)
    key = settings.remotion_service_key
    return RemotionRenders(settings.remotion_url, client, service_key=_open(key) if key else None)


@asynccontextmanager
async def _outside(settings: Settings) -> AsyncIterator[NotificationTargets]:
    """Who is told of what happens; nobody without a secret to sign with."""
    secret = settings.notice_secret
    if secret is None:
        yield NotificationTargets()
        return
    async with notification_client() as client:
        yield NotificationTargets(
            NotificationSender(client, secret, settings.notify_private_hosts or ()),
            urls=tuple(settings.notify_urls or ()),
            escalation=tuple(settings.notify_escalate_urls or ()),
        )


def _publisher(settings: Settings, files: Files, client: httpx.AsyncClient) -> Provider:
    match settings.publisher:
        case UploadPostPublisher(url=url, api_key=api_key, user=user):
            return UploadPost(url, _open(api_key), user, files, client)
        case FolderPublisher(folder=folder):
            return Folder(Path(folder).absolute(), files)


def _token_price(settings: Settings) -> TokenPrice:
    return TokenPrice(settings.usd_per_million_input_tokens, settings.usd_per_million_output_tokens)


@dataclass(frozen=True)
class TokenPrice:
    """What tokens cost, in USD for a million of each."""

    input_usd: Decimal
    output_usd: Decimal

    def __call__(self, input_tokens: int, output_tokens: int) -> Decimal:
        """What so many tokens cost, in USD."""
        return (self.input_usd * input_tokens + self.output_usd * output_tokens) / 1_000_000


def _open(secret: SecretStr) -> str:
    return secret.get_secret_value()
