"""The FastAPI application: REST API, OpenAI-compatible chat endpoints, MCP endpoint and review pages."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.routing import Route

from api import (
    artifacts,
    chat,
    errors,
    events,
    health,
    keys,
    mcp_server,
    openai_chat,
    review_links,
    reviews,
    runs,
    webhooks,
)
from api.health import VERSION
from api.middleware import AllowedHosts, BodyLimit, RequestId
from api.wiring import AppState
from console.pages import STATIC

OpenAppState = Callable[[], AbstractAsyncContextManager[AppState]]

DESCRIPTION = """Multi-agent video production with human approval before clips are generated and before a film is
published."""


def create_app(open_app_state: OpenAppState) -> FastAPI:
    """Return the application. `open_app_state` is entered for the lifetime of the application."""
    mcp = mcp_server.McpEndpoint()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_app_state() as state, mcp.opened(state):
            app.state.app_state = state
            yield

    app = FastAPI(title="MyloWare", version=VERSION, description=DESCRIPTION, lifespan=lifespan)
    app.add_middleware(BodyLimit)
    app.add_middleware(AllowedHosts)
    app.add_middleware(RequestId)
    errors.install(app)
    for module in (health, runs, events, artifacts, chat, webhooks, reviews, review_links, openai_chat, keys):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.router.routes.append(Route(mcp_server.PATH, endpoint=mcp, name="mcp"))
    return app
