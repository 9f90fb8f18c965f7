"""The FastAPI application: REST API, OpenAI-compatible chat endpoints, MCP endpoint and review pages."""

from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import Route

from api import artifacts, chat, console_pages, costs, events, keys, openai_chat, review_links, reviews, runs, webhooks
from api.authentication import AppStateDep
from api.errors import install_error_handlers
from api.mcp_server import PATH, McpEndpoint
from api.middleware import AllowedHosts, BodyLimit, RequestId
from api.schemas import Health, Ready
from api.wiring import AppState
from console import pages
from storage.readiness import OK

VERSION = version("myloware")
DESCRIPTION = """Multi-agent video production with human approval before clips are generated and before a film is
published."""

router = APIRouter(tags=["health"])


def create_app(state: AppState) -> FastAPI:
    """Return the application."""
    mcp = McpEndpoint(state)
    app = FastAPI(
        title="MyloWare",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=mcp.lifespan,
        docs_url=None,
        redoc_url=None,
        # Its spans would contain paths, in which reviewers' links are secrets; `RequestId` has its own.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.app_state = state
    app.add_middleware(BodyLimit)
    app.add_middleware(AllowedHosts)
    app.add_middleware(RequestId)
    install_error_handlers(app)
    modules = runs, events, artifacts, chat, webhooks, reviews, review_links, openai_chat, keys, costs, console_pages
    # Their routes as they are: an included router would build them again for each application.
    for included in (router, *(module.router for module in modules)):
        app.router.routes.extend(included.routes)
    app.add_api_route("/docs", show_docs, include_in_schema=False)
    app.mount("/static/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="swagger")
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    app.router.routes.append(Route(PATH, endpoint=mcp, name="mcp"))
    return app


async def show_docs() -> FileResponse:
    """Return the page that shows the API description."""
    return FileResponse(pages.DOCS_PAGE, headers=pages.DOCS_HEADERS)


@router.get("/health")
async def health() -> Health:
    """Return the status and version of the service. No API key required."""
    return Health(status="healthy", version=VERSION)


@router.get("/ready", responses={503: {"model": Ready}})
async def ready(state: AppStateDep, response: Response) -> Ready:
    """Return whether the service can work: database, schema, store and worker. No API key required."""
    checks = await state.readiness.check()
    if set(checks.values()) == {OK}:
        return Ready(status="ready", checks=checks)
    response.status_code = 503
    response.headers["Retry-After"] = "5"
    return Ready(status="unavailable", checks=checks)
