"""Create the collaborators from the settings. Only this module names concrete providers."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import httpx2
from langchain_openai import ChatOpenAI
from langgraph.store.postgres.aio import AsyncPostgresStore
from pydantic import SecretStr

from api.checked_settings import OPEN_PROVIDER, CheckedSettings, VideoAccount, callback_url, check_settings
from api.settings import NO_KEY, OPENAI_URL, UPLOAD_POST_URL, Settings
from api.settings_types import SettingsError
from chat.session import ChatServices
from chat.turns import TurnRunner
from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from providers import higgsfield, kling, replicate
from providers.base import Files, Provider
from providers.chat_models import chat_model
from providers.film_mark import Provenance
from providers.media.certificates import CertificateError, SigningKey, development_key, read_signing_key
from providers.media.intake import accept_clip
from providers.media.provenance import check_signing_key, read_provenance
from providers.messengers import Messenger, Slack, Telegram
from providers.moderation import Moderation, Moderator
from providers.native_videos import NativeVideos
from providers.notifications import NotificationSender, notification_client
from providers.public_hosts import CheckedClient
from providers.publications.folder import Folder
from providers.publications.upload_post import UploadPost
from providers.renders.embedded import EmbeddedRenders, FilmSigner
from providers.renders.remotion import RemotionRenders
from providers.speech import Speech, SpeechOffer
from providers.video_provider import VideoProvider
from providers.videos import Videos
from runs.event_feed import POLL_INTERVAL_SECONDS, EventFeed
from runs.queue import Queue, repeating
from runs.run_records import RunRecords
from runs.services import NotificationTargets, Services
from storage import api_keys, deliveries
from storage.admission import Caps
from storage.artifacts import Artifacts
from storage.database import Database, open_pool
from storage.ledger import Ledger
from storage.locks import Locks
from storage.migrate import DatabaseUnusable, migrate
from storage.orders import open_publishers_of
from storage.private_folders import make_data_folder_private, open_scratch
from storage.readiness import Readiness
from storage.saver import Saver

#: The vendors of clips with contracts of their own: by name in settings, projects and webhook URLs, adapter and URL.
VENDORS: Mapping[str, tuple[type[NativeVideos], str]] = {
    "replicate": (replicate.Replicate, replicate.BASE_URL),
    "kling": (kling.Kling, kling.BASE_URL),
    "higgsfield": (higgsfield.Higgsfield, higgsfield.BASE_URL),
}

#: By the kind of their orders, the preferred one first.
Providers = Mapping[str, Sequence[Provider]]

MAX_CONNECTIONS = 20
#: The address that `serve` listens on by default.
DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class AppState:
    """The collaborators of the API, and the settings that they were created from."""

    services: Services
    dependencies: Dependencies
    chat: ChatServices
    turns: TurnRunner
    readiness: Readiness
    settings: Settings
    event_feed: EventFeed
    listening_url: str = DEFAULT_URL

    @property
    def base_url(self) -> str:
        """Return the base of links to this service. It never depends on a request."""
        return self.settings.public_url or self.listening_url


@asynccontextmanager
async def open_app_state(
    settings: Settings, *, client_options: Mapping[str, Any] | None = None
) -> AsyncIterator[AppState]:
    """Open the collaborators for the block. `settings` must be complete: see `cli/local_services.py`.

    `client_options` are passed to the HTTP clients of the model server and the providers.
    Raises SettingsError for a setting that is missing or invalid, Unavailable for a store that cannot be opened.
    """
    checked, signing_key = check_settings(settings), open_signing_key(settings)
    session_url, dsn = settings.session_url, _text(settings.database_url or SecretStr(settings.session_url))
    is_pooled = session_url != dsn
    try:
        await migrate(session_url)
    except DatabaseUnusable as error:
        raise SettingsError(f"{settings.session_variable}: {error}") from error
    folder = settings.data_dir.absolute()
    make_data_folder_private(folder)
    async with AsyncExitStack() as stack:
        scratch = stack.enter_context(open_scratch(folder / "scratch"))
        locks = await stack.enter_async_context(Locks(session_url))
        opened = open_pool(dsn, min_size=2, max_size=MAX_CONNECTIONS, name=locks.worker_id, prepare=not is_pooled)
        pool = await stack.enter_async_context(opened)
        client = await stack.enter_async_context(httpx.AsyncClient(**client_options or {}))
        model_client = await stack.enter_async_context(httpx2.AsyncClient(**client_options or {}))
        db = Database(pool)
        queue, event_feed = Queue(db), EventFeed(db)
        await stack.enter_async_context(repeating((queue.send, 0.0), (event_feed.poll, POLL_INTERVAL_SECONDS)))
        artifacts = open_artifacts(settings, db)
        videos = {each.provider: open_video_provider(settings, each, client, artifacts) for each in checked.accounts}
        checked = checked._replace(video=replace(checked.video, providers=videos))
        names = [each.publisher for each in checked.projects.values() if each.publisher]
        # An account that no project names any more answers for its older orders.
        older = [f"upload_post:{each.rpartition(':')[2]}" for each in await open_publishers_of(db) if ":" in each]
        publishers = open_publishers(settings, artifacts, client, [*names, *older])
        speech_key = _text(settings.speech_api_key)
        store = partial(artifacts.store, kind="speech", media_type="application/octet-stream", facts={})
        makers: Providers = {
            "render": [open_renderer(settings, artifacts, client, signing_key)],
            "speech": [Speech(settings.speech_base_url, speech_key, client, artifacts, store, scratch)],
        }
        ledger = _open_ledger(settings, checked, db, makers, publishers)
        speech = _speech_offer(settings)
        model = open_chat_model(settings, model_client)
        deps = Dependencies(
            project=lambda name, options: checked.projects[name].with_options(options),
            model=model,
            moderation=open_moderation(settings, client),
            video=checked.video,
            ledger=ledger,
            records=RunRecords(db),
            publisher=ledger.providers["publication"][0].name,
            publishers=ledger.publishers,
            read_mark=partial(_read_mark, artifacts),
            speech=speech,
        )
        services = Services(
            db=db,
            ledger=ledger,
            locks=locks,
            artifacts=artifacts,
            projects=checked.projects,
            offered=checked.offered,
            video=checked.video,
            speech=speech,
            run_graph=build_run_graph(deps).compile(name="run", store=AsyncPostgresStore(pool)),
            model=model,
            new_saver=lambda: Saver(pool),
            wakeups=queue,
            scratch=scratch,
            keep=settings.keep,
            signs_films=True,
            notification_targets=await stack.enter_async_context(_notification_targets(settings)),
        )
        await deliveries.enable_endpoints(db)
        yield AppState(
            services=services,
            dependencies=deps,
            chat=ChatServices(services, model),
            turns=await stack.enter_async_context(TurnRunner(settings.openai_timeout_seconds)),
            readiness=Readiness(db, artifacts),
            settings=settings,
            event_feed=event_feed,
        )


async def _read_mark(films: Files, digest: str) -> Provenance | None:
    """Return the content of the C2PA manifest of a stored film. Raises the errors of `Files`."""
    return await asyncio.to_thread(read_provenance, await films.local_path(digest))


async def reconcile_keys(settings: Settings, db: Database) -> str | None:
    """Make the keys of the settings exactly those given, or generate a key into an empty table and return it.

    Only `serve` does this: other processes with the same database may have other settings.
    """
    keys = [_text(key) for key in settings.api_keys or ()]
    limited = [_text(key) for key in settings.limited_api_keys or ()]
    if not keys and not limited:
        return await api_keys.generate_first_key(db)
    await api_keys.sync_settings_keys(db, keys, limited)
    return None


def _open_ledger(
    settings: Settings, checked: CheckedSettings, db: Database, makers: Providers, publishers: Mapping[str, Provider]
) -> Ledger:
    clips, posts = [*checked.video.providers.values()], [*publishers.values()]
    providers: Providers = {"clip": clips, "publication": posts, **makers}
    named = {p.name: publishers[p.publisher].name for p in checked.projects.values() if p.publisher}
    budgets = {p.name: p.day_budget_usd for p in checked.projects.values() if p.day_budget_usd is not None}
    caps = Caps(day_usd=settings.day_cap_usd, project_day_usd=budgets)
    return Ledger(db, caps, settings.usd_of_tokens, providers, named)


def _speech_offer(settings: Settings) -> SpeechOffer | None:
    """Return the offer of the speech server, for any voice."""
    offer = SpeechOffer(model=settings.speech_model, usd_per_1000_characters=settings.speech_price)
    return offer if settings.speech_base_url else None


def open_artifacts(settings: Settings, db: Database, cache: Path | None = None) -> Artifacts:
    """Return the store of clips and films, with a folder for downloads. Raises Unavailable for an invalid setting."""
    folder = settings.data_dir.absolute()
    store = settings.store_url or folder / "artifacts"
    return Artifacts(db, store, cache or folder / "cache", settings.cache_bytes)


def open_chat_model(settings: Settings, client: httpx2.AsyncClient) -> ChatOpenAI:
    """Return the language model."""
    return chat_model(
        base_url=settings.openai_base_url or OPENAI_URL,
        api_key=_text(settings.openai_api_key or NO_KEY),
        model=settings.openai_model,
        http_async_client=client,
        timeout=settings.openai_timeout_seconds,
        max_tokens=settings.openai_max_tokens,
    )


def open_moderation(settings: Settings, client: httpx.AsyncClient) -> Moderation | Moderator:
    """Return the moderation service, by default at the server of the language model, or who moderates instead."""
    if settings.moderation:
        return settings.moderation
    url = settings.moderation_base_url or settings.openai_base_url or OPENAI_URL
    key = settings.moderation_api_key or settings.openai_api_key or NO_KEY
    return Moderation(url, _text(key), client, settings.moderation_model)


def open_video_provider(
    settings: Settings,
    account: VideoAccount,
    client: httpx.AsyncClient,
    stored: Files | None = None,
    file_client: CheckedClient | None = None,
) -> VideoProvider:
    """Return the provider of clips of an account. `stored` are the images that clips start from."""
    adapter, url = VENDORS.get(account.provider, (Videos, OPENAI_URL))
    base_url, key, announced = account.base_url or url, _text(account.api_key), is_announced(settings, account)
    profiles = account.profiles
    return adapter(base_url, key, profiles, client, accept_clip, file_client, stored=stored, is_announced=announced)


def is_announced(settings: Settings, account: VideoAccount) -> bool:
    """Return whether webhooks announce the clips of an account."""
    if account.provider == OPEN_PROVIDER:
        return bool(account.webhook_secrets) and account.profiles[0].webhooks
    has_secrets = account.webhook_secrets or VENDORS[account.provider][0].gives_secrets
    return bool(has_secrets) and callback_url(settings, account) is not None


def open_signing_key(settings: Settings) -> SigningKey:
    """Return the key that signs films, of the settings or of the data folder. Raises SettingsError if it cannot."""
    try:
        if settings.c2pa_certificate and settings.c2pa_key:
            key = read_signing_key(settings.c2pa_certificate, settings.c2pa_key)
        else:
            key = development_key(settings.data_dir.absolute())
        check_signing_key(key)
    except CertificateError as error:
        raise SettingsError(str(error)) from error
    return key


def open_renderer(
    settings: Settings, files: Files, client: httpx.AsyncClient, signing_key: SigningKey | None = None
) -> Provider:
    """Return the render service of the settings, or the embedded renderer. Without a key it signs no films."""
    signer = FilmSigner(files, signing_key) if signing_key else None
    if settings.remotion_url is None:
        return EmbeddedRenders(files, signer=signer)
    key = settings.remotion_service_key
    return RemotionRenders(settings.remotion_url, client, files, service_key=_text(key) if key else None, signer=signer)


def open_publishers(
    settings: Settings, files: Files, client: httpx.AsyncClient, names: Iterable[str] = ()
) -> dict[str, Provider]:
    """Return the configured publishers, and those of these names, by their names in projects.

    The first one posts the films of projects that name none. Raises SettingsError without one.
    """
    folder, key = settings.publish_folder, settings.upload_post_api_key
    if not folder and not key:
        raise SettingsError("No publisher is configured. Set UPLOAD_POST_API_KEY or MYLOWARE_PUBLISH_FOLDER.")
    publishers: dict[str, Provider] = {"folder": Folder((folder or settings.data_dir / "published").absolute(), files)}
    if not key:
        return publishers
    for name in ("upload_post", *names):
        if name != "folder":
            url, user = settings.upload_post_url or UPLOAD_POST_URL, name.partition(":")[2] or settings.upload_post_user
            publishers[name] = UploadPost(url, _text(key), user, files, client)
    return publishers if folder else {"upload_post": publishers["upload_post"], **publishers}


@asynccontextmanager
async def _notification_targets(settings: Settings) -> AsyncIterator[NotificationTargets]:
    """Open the notification targets. Without a signing secret there are no URLs."""
    secret, private_hosts = settings.notify_secret, settings.notify_private_hosts or ()
    async with notification_client() as client:
        yield NotificationTargets(
            NotificationSender(client, secret, private_hosts) if secret else None,
            tuple(settings.notify_urls or ()),
            tuple(settings.notify_escalate_urls or ()),
            {each.endpoint: each for each in open_messengers(settings, client)},
            (settings.public_url or "").rstrip("/"),
            tuple(settings.sandbox_services),
        )


def open_messengers(settings: Settings, client: CheckedClient) -> list[Messenger]:
    """Return the messengers of the settings."""
    found, private_hosts = list[Messenger](), settings.notify_private_hosts or ()
    if settings.slack_webhook_url:
        found.append(Slack(client, _text(settings.slack_webhook_url), private_hosts))
    if settings.telegram_bot_token and settings.telegram_chat_id:
        url = f"{settings.telegram_base_url}/bot{quote(_text(settings.telegram_bot_token), safe=':')}"
        found.append(Telegram(client, url, private_hosts, chat_id=settings.telegram_chat_id))
    return found


def _text(secret: SecretStr) -> str:
    return secret.get_secret_value()
