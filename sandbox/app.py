"""The sandbox put together: one application, and what it does beside answering."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI

from sandbox.admin import Admin
from sandbox.answers import ApiError, api_error
from sandbox.chat import Chat
from sandbox.endpoints import EVENT_TYPES, Endpoints, new_secret
from sandbox.faults import Faults
from sandbox.moderation import Moderation
from sandbox.painters import Painters
from sandbox.posts import Posts
from sandbox.publishing import Publishing
from sandbox.store import Store
from sandbox.video_api import VideoApi
from sandbox.videos import Videos
from sandbox.webhooks import Courier


def create_app(state_dir: Path, webhook_url: str | None = None, webhook_secret: str | None = None) -> FastAPI:
    """The sandbox with its memory in `state_dir`; events go to `webhook_url`, if given, and to who registers."""
    store = Store(state_dir)
    faults = Faults(store)
    endpoints = Endpoints(store)
    if webhook_url is not None:
        endpoints.keep(webhook_url, webhook_secret or new_secret(), EVENT_TYPES, name="command line")
    courier = Courier(store, faults)
    videos = Videos(store, faults, courier, Painters())

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        videos.resume()
        carrying = asyncio.create_task(courier.run())
        yield
        await videos.close()
        carrying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await carrying
        store.close()

    app = FastAPI(title="SANDBOX", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(ApiError, api_error)
    video_api = VideoApi(videos, faults, courier)
    app.include_router(video_api.routes("/v1"))
    app.include_router(video_api.routes("/api/v1"))  # where OpenRouter has them
    app.include_router(endpoints.routes())
    app.include_router(Chat(faults).routes())
    app.include_router(Moderation(faults).routes())
    app.include_router(Publishing(store, faults).routes())
    app.include_router(Admin(store, faults).routes())
    app.include_router(Posts(store).routes())
    return app
