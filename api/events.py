"""The events of a run, as JSON or as a stream, and the stream of the gates that open in the runs of a chat session."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from api.authentication import AppStateDep, CallerDep
from api.errors import responses
from api.middleware import ENDS_AT_STOP
from api.schemas import EVENT_STREAM, SESSION_ID, RunEvents
from api.wiring import AppState
from graph.status import TERMINAL_STATUSES
from runs import queries
from runs.errors import SessionNotFound
from runs.gate_news import describe_open_gate
from storage import api_keys
from storage.api_keys import ApiKeyRow
from storage.chat_sessions import is_session_of, thread_id_of
from storage.events import Event, list_events
from storage.reviews import OpenGate, list_gates_opened_since, record_served_events

router = APIRouter(prefix="/v1", responses=responses(401, 422, 429))
EPOCH = datetime.fromtimestamp(0, UTC)

_event = TypeAdapter(Event)


async def position(
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> int:
    """Return the sequence number in the header of a stream that is opened again, or `after` if it contains none."""
    text = last_event_id or ""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else after


Position = Annotated[int, Depends(position)]


@router.get(
    "/runs/{run_id:uuid}/events",
    tags=["runs"],
    response_model=RunEvents,
    responses={**responses(404, 410), 200: EVENT_STREAM},
)
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


@router.get(
    "/chat/supervisor/{session_id}/events",
    tags=["chat"],
    response_class=Response,
    responses={**responses(404), 200: EVENT_STREAM},
)
async def follow_session(
    session_id: Annotated[str, Path(pattern=SESSION_ID)], state: AppStateDep, caller: CallerDep, after: Position
) -> Response:
    """Stream the gates of the runs that a chat session started: those that are open, then each as it opens.

    Each is an event `gate` with `run_id`, `gate` and `text`, a sentence for the person in Markdown. With the id of the
    last event, as `after` or `Last-Event-ID`, only later ones are sent. The first message of a session creates it: a
    session that does not exist, or that belongs to another API key, is not found, and nothing is created.
    """
    if not await is_session_of(state.services.db, session_id, caller.actor.id):
        raise SessionNotFound("This API key has no chat session of this id: send its first message before.")
    return SessionStream(state, session_id, after, caller)


class SessionStream(RunStream):
    """The gates of the runs of a chat session as a stream, until the server stops or the key ends."""

    def __init__(self, state: AppState, session_id: str, after: int, caller: ApiKeyRow) -> None:
        self._session_id = session_id
        super().__init__(state, UUID(thread_id_of(session_id)), after, caller)

    async def _messages(self) -> AsyncIterator[ServerSentEvent]:
        db, sent = self.state.services.db, set[OpenGate]()
        while True:
            self.changed.clear()
            if not await self.is_admitted():
                return
            _, _, thread = await self.state.chat.open_thread(self._session_id)
            started = thread.get("started", [])
            # Followed before the gates are read: one that opens in between wakes the stream.
            self.state.event_feed.add_runs(self.changed, map(UUID, started))
            for opened in await list_gates_opened_since(db, started, EPOCH):
                position = (opened.opened_at - EPOCH) // timedelta(microseconds=1)
                if opened not in sent and position > self._after:
                    sent.add(opened)
                    text = describe_open_gate(opened, self.state.base_url)
                    data = {"run_id": str(opened.run_id), "gate": opened.gate, "text": text}
                    data_json = json.dumps(data, ensure_ascii=False)
                    yield ServerSentEvent(data_json, id=str(position), event="gate", sep="\n")
            await self.wait()
