"""`GET /v1/runs/{run_id}/events`: the events of a run, as JSON or as a stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.authentication import AppStateDep, CallerDep
from api.errors import responses
from api.schemas import EVENT_STREAM, RunEvents
from graph.status import TERMINAL_STATUSES
from runs import queries, served_reviews
from storage.actors import Actor
from storage.database import Database
from storage.events import Event, list_events

POLL_INTERVAL_SECONDS = 0.3
PAGE_SIZE = 500

router = APIRouter(prefix="/v1/runs", tags=["runs"], responses=responses(401, 422, 429))

_event = TypeAdapter(Event)


@router.get("/{run_id:uuid}/events", response_model=RunEvents, responses={**responses(404), 200: EVENT_STREAM})
async def list_run_events(
    run_id: UUID,
    request: Request,
    state: AppStateDep,
    caller: CallerDep,
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> RunEvents | Response:
    """Return the events of a run after the sequence number `after`.

    With `Accept: text/event-stream` they are streamed as they happen, until the run has ended.
    """
    db = state.services.db
    await queries.get_run(db, run_id)
    if last_event_id and last_event_id.isdecimal() and last_event_id.isascii() and len(last_event_id) < 19:
        after = int(last_event_id)
    if "text/event-stream" in request.headers.get("accept", ""):
        return EventSourceResponse(_stream(db, run_id, after, caller.actor), sep="\n")
    return RunEvents(events=await _serve_page(db, run_id, after, caller.actor))


async def _serve_page(db: Database, run_id: UUID, after: int, actor: Actor) -> list[Event]:
    """Return the next events, among them the reviews that the actor is served with them."""
    events = await list_events(db, run_id, after=after, limit=PAGE_SIZE)
    await served_reviews.record_events(db, actor, run_id, events)
    return events


async def _stream(db: Database, run_id: UUID, after: int, actor: Actor) -> AsyncIterator[ServerSentEvent]:
    while True:
        # Read before the events: a list read after the end contains the last event.
        is_terminal = (await queries.get_run(db, run_id)).status in TERMINAL_STATUSES
        events = await _serve_page(db, run_id, after, actor)
        for event in events:
            data = _event.dump_json(event).decode()
            yield ServerSentEvent(data, id=str(event.seq), event=event.kind, sep="\n")
            after = event.seq
        if is_terminal and not events:
            return
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
