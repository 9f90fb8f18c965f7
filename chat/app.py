"""The whole service: the REST API, and the doors for chat clients and agents beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

from api import app as rest
from api.app import Open
from api.wiring import Assembly
from chat import mcp_door, openai_door


def create_app(open_assembly: Open) -> FastAPI:
    """The app. `open_assembly` gives the parts behind it for as long as it serves."""
    door = mcp_door.Door()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Assembly]:
        async with open_assembly() as parts, door.opened(parts):
            yield parts

    app = rest.create_app(opened)
    app.include_router(openai_door.router)
    app.router.routes.append(Route(mcp_door.PATH, endpoint=door, name="mcp"))
    return app
