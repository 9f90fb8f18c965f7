"""`GET /health` and `GET /ready`."""

from importlib.metadata import version

from fastapi import APIRouter, Response

from api.authentication import AppStateDep
from api.schemas import Health, Ready
from storage.readiness import OK

VERSION = version("myloware")

router = APIRouter(tags=["health"])


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
