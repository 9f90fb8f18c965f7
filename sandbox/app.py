"""The sandbox application: all APIs on one server, with webhook sending and rendering in the background."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from sandbox.admin_api import AdminApi
from sandbox.chat_api import ChatApi
from sandbox.faults import FaultQueue
from sandbox.higgsfield_api import HiggsfieldApi
from sandbox.kling_api import KlingApi
from sandbox.moderation_api import ModerationApi
from sandbox.publishing_api import PublishingApi
from sandbox.render_pool import RenderPool
from sandbox.replicate_api import ReplicateApi
from sandbox.responses import ApiError, handle_api_error, handle_invalid_request
from sandbox.speech_api import SpeechApi
from sandbox.store import Store
from sandbox.video_api import VideoApi
from sandbox.videos import VideoService
from sandbox.webhook_endpoints import EVENT_TYPES, WebhookEndpoints, generate_secret
from sandbox.webhook_sender import WebhookSender


def create_app(state_dir: Path, webhook_url: str | None = None, webhook_secret: str | None = None) -> FastAPI:
    """Return the sandbox application with its state in `state_dir`.

    Events are sent to `webhook_url`, if given, and to the endpoints registered over the API.
    """
    store = Store(state_dir)
    faults = FaultQueue(store)
    endpoints = WebhookEndpoints(store)
    if webhook_secret is not None:
        store.set_setting("vendor_secret", webhook_secret)
    if webhook_url is not None:
        endpoints.register(webhook_url, webhook_secret or generate_secret(), EVENT_TYPES, name="command line")
    sender = WebhookSender(store, faults)
    videos = VideoService(store, faults, sender, RenderPool())

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        videos.resume()
        sending = asyncio.create_task(sender.run())
        yield
        await videos.close()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        store.close()

    app = FastAPI(title="SANDBOX", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(ApiError, handle_api_error)
    app.add_exception_handler(RequestValidationError, handle_invalid_request)
    video_api = VideoApi(videos, faults, sender)
    app.include_router(video_api.router("/v1"))
    app.include_router(video_api.router("/api/v1"))  # the path of the OpenRouter API
    vendors = [vendor(store, video_api, endpoints) for vendor in (ReplicateApi, HiggsfieldApi, KlingApi)]
    others = (ChatApi(faults), SpeechApi(store, faults), ModerationApi(faults), PublishingApi(store, faults))
    for api in (*vendors, endpoints, *others, AdminApi(store, faults)):
        app.include_router(api.router)
    return app
