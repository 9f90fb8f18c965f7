"""`GET /v1/runs/{run_id}/events`: the events of a run, as JSON or as a stream."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from api.authentication import AppStateDep, CallerDep
from api.errors import responses
from api.middleware import ENDS_AT_STOP
from api.schemas import EVENT_STREAM, RunEvents
from api.wiring import AppState
from graph.status import TERMINAL_STATUSES
from runs import queries
from storage import api_keys
from storage.api_keys import ApiKeyRow
from storage.events import Event, list_events
from storage.reviews import record_served_events

router = APIRouter(prefix="/v1/runs", tags=["runs"], responses=responses(401, 422, 429))

_event = TypeAdapter(Event)


async def position(
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> int:
    """Return the sequence number in the header of a stream that is opened again, or `after` if it contains none."""
    text = last_event_id or ""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else after


Position = Annotated[int, Depends(position)]


@router.get("/{run_id:uuid}/events", response_model=RunEvents, responses={**responses(404, 410), 200: EVENT_STREAM})
async def list_run_events(
    run_id: UUID, request: Request, state: AppStateDep, caller: CallerDep, after: Position
) -> RunEvents | Response:
    """Return the events of a run after the sequence number `after`.

    With `Accept: text/event-stream` they are streamed as they happen, until the run has ended.
    """
    db = state.services.db
    await queries.get_kept_run(db, run_id)
    if "text/event-stream" in request.headers.get("accept", ""):
        return RunStream(state, run_id, after, caller)
    events = await list_events(db, run_id, after=after)
    await record_served_events(db, caller.actor, run_id, events)
    return RunEvents(events=events)


class RunStream(EventSourceResponse):
    """The events of a run as a stream. It counts as one of the caller's streams until it ends."""

    def __init__(self, state: AppState, run_id: UUID, after: int, caller: ApiKeyRow) -> None:
        self.state, self.run_id, self._after, self.caller = state, run_id, after, caller
        super().__init__(self._messages(), sep="\n")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        scope["state"][ENDS_AT_STOP] = True
        with self.state.event_feed.follow(self.run_id, self.caller.id) as self.changed:
            await super().__call__(scope, receive, send)

    async def _messages(self) -> AsyncIterator[ServerSentEvent]:
        db, after = self.state.services.db, self._after
        while True:
            self.changed.clear()
            if not await self.is_admitted():
                return
            # Read before the events: a list read after the end contains the last event.
            is_terminal = (await queries.get_run(db, self.run_id)).status in TERMINAL_STATUSES
            events = await list_events(db, self.run_id, after=after)
            is_ended = is_terminal and not events
            for message in await self.describe(events, is_ended=is_ended):
                yield message
            if is_ended:
                return
            if events:
                after = events[-1].seq
            else:
                await self.wait()

    async def is_admitted(self) -> bool:
        """Return whether the caller may read on."""
        key = await api_keys.get_key(self.state.services.db, self.caller.id)
        return key is not None and not key.has_ended

    async def describe(self, events: list[Event], *, is_ended: bool) -> list[ServerSentEvent]:
        """Return the messages about these events; there are none when nothing is new, and at the end."""
        await record_served_events(self.state.services.db, self.caller.actor, self.run_id, events)
        return [
            ServerSentEvent(_event.dump_json(event).decode(), id=str(event.seq), event=event.kind, sep="\n")
            for event in events
        ]

    async def wait(self) -> None:
        """Wait until the run has new events."""
        await self.changed.wait()
