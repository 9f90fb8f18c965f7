"""`GET /v1/runs/{run_id}/events`: the events of a run, as JSON or as a stream."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from api.authentication import AppStateDep, CallerDep
from api.errors import responses
from api.schemas import EVENT_STREAM, RunEvents
from api.wiring import AppState
from graph.status import TERMINAL_STATUSES
from runs import queries, served_reviews
from storage import api_keys
from storage.actors import Actor
from storage.api_keys import ApiKeyRow
from storage.database import Database
from storage.events import Event, list_events

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
        return _RunStream(state, run_id, after, caller)
    return RunEvents(events=await _serve_page(db, run_id, after, caller.actor))


class _RunStream(EventSourceResponse):
    """The events of a run as a stream. It counts as one of the caller's streams until it ends."""

    def __init__(self, state: AppState, run_id: UUID, after: int, caller: ApiKeyRow) -> None:
        self._state, self._run_id, self._after, self._caller = state, run_id, after, caller
        super().__init__(self._events(), sep="\n")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._state.event_feed.follow(self._run_id, self._caller.id) as self._changed:
            await super().__call__(scope, receive, send)

    async def _events(self) -> AsyncIterator[ServerSentEvent]:
        db, after = self._state.services.db, self._after
        while True:
            self._changed.clear()
            key = await api_keys.get_key(db, self._caller.id)
            if key is None or key.has_ended:
                return
            # Read before the events: a list read after the end contains the last event.
            is_terminal = (await queries.get_run(db, self._run_id)).status in TERMINAL_STATUSES
            events = await _serve_page(db, self._run_id, after, self._caller.actor)
            for event in events:
                data = _event.dump_json(event).decode()
                yield ServerSentEvent(data, id=str(event.seq), event=event.kind, sep="\n")
                after = event.seq
            if is_terminal and not events:
                return
            if not events:
                await self._changed.wait()


async def _serve_page(db: Database, run_id: UUID, after: int, actor: Actor) -> list[Event]:
    """Return the next events, among them the reviews that the actor is served with them."""
    events = await list_events(db, run_id, after=after)
    await served_reviews.record_events(db, actor, run_id, events)
    return events
