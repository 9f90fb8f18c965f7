"""`GET /v1/runs/{run_id}/events`: what happened, as JSON or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import TypeAdapter

from api.authentication import AppStateDep, CallerDep
from api.errors import responses
from api.schemas import RunEvent, RunEvents
from graph.status import TERMINAL_STATUSES
from runs import queries
from runs.services import Services
from storage.events import list_events

#: How often the stream looks for news, and how often it says that it is still there, in seconds.
TICK = 0.3
KEEP_ALIVE = 15.0
LIMIT = 500

router = APIRouter(prefix="/v1/runs", tags=["runs"], responses=responses(401, 422, 429))

_events = TypeAdapter(list[RunEvent])


@router.get(
    "/{run_id:uuid}/events",
    response_model=RunEvents,
    responses={**responses(404), 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    run_id: UUID,
    request: Request,
    parts: AppStateDep,
    _who: CallerDep,
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> Response:
    """Events of a run, after the number `after`; with `Accept: text/event-stream` as they happen, until it ends."""
    await queries.get_run(parts.services, run_id)
    if last_event_id and last_event_id.isdecimal() and last_event_id.isascii() and len(last_event_id) < 19:
        after = int(last_event_id)
    if "text/event-stream" in request.headers.get("accept", ""):
        stream = _stream(parts.services, run_id, after)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
    rows = await list_events(parts.services.db, run_id, after=after, limit=LIMIT)
    return JSONResponse({"events": _json(rows)})


def _json(rows: Any) -> list[dict[str, Any]]:
    return [event.model_dump(mode="json") for event in _events.validate_python(rows)]


async def _stream(services: Services, run_id: UUID, after: int) -> AsyncIterator[str]:
    quiet = 0.0
    while True:
        # Looked at before the feed: what happened until the end is then in it.
        ended = (await queries.get_run(services, run_id))["status"] in TERMINAL_STATUSES
        rows = await list_events(services.db, run_id, after=after, limit=LIMIT)
        for event in _events.validate_python(rows):
            yield f"id: {event.seq}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n"
            after = event.seq
        if ended and not rows:
            return
        quiet = 0.0 if rows else quiet + TICK
        if quiet >= KEEP_ALIVE:
            quiet = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(TICK)
