"""`POST /v1/chat/supervisor`: chat with the supervisor."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.authentication import AppStateDep
from api.errors import responses, to_api_error
from api.idempotency import IdempotentDep, IdempotentRequest
from api.schemas import EVENT_STREAM, ChatMessageRequest, ChatResponse
from chat.session import run_turn
from chat.turns import ChatRequest, TurnEvents, TurnResult, TurnStream

router = APIRouter(prefix="/v1/chat", tags=["chat"], responses=responses(400, 401, 413, 422, 429))


@router.post("/supervisor", response_model=ChatResponse, responses={**responses(403, 409, 502, 503), 200: EVENT_STREAM})
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
