"""The FastAPI application: REST API, OpenAI-compatible chat endpoints, MCP endpoint and review pages."""

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import Route

from api import artifacts, chat, events, health, keys, openai_chat, review_links, reviews, runs, webhooks
from api.errors import install_error_handlers
from api.health import VERSION
from api.mcp_server import PATH, McpEndpoint
from api.middleware import AllowedHosts, BodyLimit, RequestId
from api.wiring import AppState
from console import pages

DESCRIPTION = """Multi-agent video production with human approval before clips are generated and before a film is
published."""


def create_app(state: AppState) -> FastAPI:
    """Return the application."""
    mcp = McpEndpoint(state)
    app = FastAPI(
        title="MyloWare", version=VERSION, description=DESCRIPTION, lifespan=mcp.lifespan, docs_url=None, redoc_url=None
    )
    app.state.app_state = state
    app.add_middleware(BodyLimit)
    app.add_middleware(AllowedHosts)
    app.add_middleware(RequestId)
    install_error_handlers(app)
    for module in (health, runs, events, artifacts, chat, webhooks, reviews, review_links, openai_chat, keys):
        app.include_router(module.router)
    app.add_api_route("/docs", show_docs, include_in_schema=False)
    app.mount("/static/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="swagger")
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    app.router.routes.append(Route(PATH, endpoint=mcp, name="mcp"))
    return app


async def show_docs() -> FileResponse:
    """Return the page that shows the API description."""
    return FileResponse(pages.DOCS_PAGE, headers=pages.DOCS_HEADERS)
