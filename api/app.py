"""The FastAPI application: REST API, OpenAI-compatible chat endpoints, MCP endpoint and review pages."""

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
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
from console import pages

DESCRIPTION = """Multi-agent video production with human approval before clips are generated and before a film is
published."""


def create_app(state: AppState) -> FastAPI:
    """Return the application."""
    mcp = mcp_server.McpEndpoint(state)
    app = FastAPI(
        title="MyloWare",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lambda _app: mcp.opened(),
        docs_url=None,
        redoc_url=None,
    )
    app.state.app_state = state
    app.add_middleware(BodyLimit)
    app.add_middleware(AllowedHosts)
    app.add_middleware(RequestId)
    errors.install(app)
    for module in (health, runs, events, artifacts, chat, webhooks, reviews, review_links, openai_chat, keys):
        app.include_router(module.router)
    app.add_api_route("/docs", show_docs, include_in_schema=False)
    app.mount("/static/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="swagger")
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    app.router.routes.append(Route(mcp_server.PATH, endpoint=mcp, name="mcp"))
    return app


async def show_docs() -> HTMLResponse:
    """Return the page that shows the API description."""
    return HTMLResponse(pages.docs_page(), headers=pages.DOCS_HEADERS)
