"""`GET /health`."""

from importlib.metadata import version

from fastapi import APIRouter

from api.schemas import Health

VERSION = version("myloware")

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> Health:
    """Return the status and version of the service. No API key required."""
    return Health(status="healthy", version=VERSION)
