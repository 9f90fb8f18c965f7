"""Chat with the supervisor: `POST /v1/chat/supervisor`, and a page of the console that the others open as a panel."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.authentication import AppStateDep, IdempotentDep, IdempotentRequest
from api.console_session import PageRoute, SessionDep
from api.errors import responses, to_api_error
from api.schemas import EVENT_STREAM, ChatMessageRequest, ChatResponse
from api.wiring import AppState
from chat.confirmations import list_pending
from chat.session import run_turn
from chat.turns import ChatRequest, TurnEvents, TurnResult, TurnStream
from console.pages import console_page
from console.sessions import Session
from storage.actors import RequestContext

router = APIRouter(prefix="/v1/chat", tags=["chat"], responses=responses(400, 401, 413, 422, 429))


@router.post(
    "/supervisor", response_model=ChatResponse, responses={**responses(403, 409, 410, 502, 503), 200: EVENT_STREAM}
)
async def chat(body: ChatMessageRequest, request: Request, state: AppStateDep, idempotent: IdempotentDep) -> Response:
    """Process one message of a chat session.

    With `Accept: text/event-stream` the turn is streamed as events: token, tool, done, error. The turn is completed
    also when the connection is lost; the same message sent again shortly after is the same turn.
    """
    is_stream = "text/event-stream" in request.headers.get("accept", "")
    if completed := await idempotent.find_completed(body):
        content = ChatResponse.model_validate(completed.body)
        events = iter([_event("done", content.model_dump_json())])
        return EventSourceResponse(events, sep="\n") if is_stream else JSONResponse(completed.body)
    chat_request = ChatRequest(
        session_id=body.session_id or f"chat_{uuid4().hex}",
        message=body.message,
        is_new_session=body.session_id is None,
        base_url=state.base_url,
        context=replace(idempotent.context, channel="chat"),
    )
    stream = state.turns.start(_store_result(run_turn(state.chat, chat_request), idempotent))
    if is_stream:
        return EventSourceResponse(stream_turn(stream, _write_json), sep="\n")
    return JSONResponse(_response(await stream.result()).model_dump(mode="json"))


async def _store_result(turn: TurnEvents, idempotent: IdempotentRequest) -> TurnEvents:
    """Pass on the turn and store its result for the Idempotency-Key, also when the client has disconnected."""
    async with idempotent.in_progress() as store:
        async for event in turn:
            if isinstance(event, TurnResult):
                await store(_response(event))
            yield event


async def _write_json(turn: TurnResult) -> str:
    return _response(turn).model_dump_json()


async def stream_turn(
    stream: TurnStream, write: Callable[[TurnResult], Awaitable[str]]
) -> AsyncIterator[ServerSentEvent]:
    """Yield the events of a turn as they happen, the last with its result as `write` returns it, or with its error."""
    try:
        while not isinstance(event := await stream.next_event(), TurnResult):
            if event is not None:
                content = {"text": event.text} if event.kind == "token" else {"name": event.text}
                yield _event(event.kind, json.dumps(content, ensure_ascii=False))
        yield _event("done", await write(event))
    except Exception as error:
        yield _event("error", json.dumps(to_api_error(error).body, ensure_ascii=False))


def _event(kind: str, data: str) -> ServerSentEvent:
    return ServerSentEvent(data, event=kind, sep="\n")


def _response(turn: TurnResult) -> ChatResponse:
    first = next(iter(turn.pending), None)
    return ChatResponse.model_validate({**vars(turn), "pending_decision": first, "pending_decisions": turn.pending})


page_router = APIRouter(prefix="/chat", route_class=PageRoute, include_in_schema=False)


@page_router.get("")
async def show_chat(request: Request, state: AppStateDep, session: SessionDep, run: UUID | None = None) -> HTMLResponse:
    """Show the conversation of the session and what can be confirmed in it; to htmx without the page around it."""
    template = "chat_panel.html" if "hx-request" in request.headers else "chat.html"
    return HTMLResponse(await _render(state, session, template, run_id=run))


@page_router.post("")
async def send_message(
    http_request: Request,
    state: AppStateDep,
    session: SessionDep,
    message: Annotated[str, Form()] = "",
    run: Annotated[UUID | None, Form()] = None,
    request: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Process a message, which may confirm or withdraw what was prepared. A script gets the turn as a stream.

    The events are those of REST, but `done` has the conversation as HTML. A form that is sent twice is one message.
    """
    context = RequestContext(session.key.actor, "chat", f"form:{request}" if request else None)
    text, base_url = message.replace("\r\n", "\n"), state.base_url
    sent = ChatRequest(session.chat_id, text, context, base_url=base_url, page_run_id=run)
    stream, render = state.turns.start(run_turn(state.chat, sent)), partial(_render, state, session, run_id=run)
    if "text/event-stream" in http_request.headers.get("accept", ""):
        return EventSourceResponse(stream_turn(stream, partial(render, "chat_log.html")), sep="\n")
    try:
        return HTMLResponse(await render("chat.html", await stream.result()))
    except Exception as error:
        problem = to_api_error(error)
        page = await render("chat.html", problem=problem, typed=message, request=request or uuid4())
        return HTMLResponse(page, problem.status, problem.headers)


async def _render(state: AppState, session: Session, template: str, turn: TurnResult | None = None, **more: Any) -> str:
    """Return the conversation after this turn, also with an answer that its thread does not keep."""
    messages = await state.chat.read_conversation(session.chat_id)
    is_kept = turn is None or any(text in turn.response for _, text in messages[-1:])
    answer = turn and (turn.notice if is_kept else turn.response)
    variables = {"problem": None, "typed": "", "request": uuid4(), "messages": messages, "answer": answer, **more}
    variables["pending"] = await list_pending(state.services.db, session.key.actor.id, session.chat_id)
    return console_page(template, session, path="/chat", **variables)
