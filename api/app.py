"""The REST API, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api import artifacts, chat, errors, events, health, reviews, runs, webhooks
from api.health import VERSION
from api.middleware import BodyLimit, RequestId
from api.wiring import Assembly
from console.pages import STATIC

Open = Callable[[], AbstractAsyncContextManager[Assembly]]

DESCRIPTION = """A small video studio that works by itself and asks a person at the two moments that matter:
before clips are made, and before a film is published."""


def create_app(open_assembly: Open) -> FastAPI:
    """The app. `open_assembly` gives the parts behind it for as long as it serves."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_assembly() as parts:
            app.state.assembly = parts
            yield

    app = FastAPI(title="MyloWare", version=VERSION, description=DESCRIPTION, lifespan=lifespan)
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestId)
    errors.install(app)
    for room in (health, runs, events, artifacts, chat, webhooks):
        app.include_router(room.router)
    app.include_router(reviews.of_runs)
    app.include_router(reviews.by_link)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
