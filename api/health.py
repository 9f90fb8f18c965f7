"""`GET /health`."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter

from api.schemas import Health

VERSION = version("myloware")

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> Health:
    """Whether the service answers. Needs no key."""
    return Health(status="healthy", version=VERSION)
