"""`POST /v1/chat/supervisor`: talk with the supervisor."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from api.authentication import AppStateDep, base_url
from api.errors import ApiError, responses, to_api_error
from api.idempotency import IdempotentRequest
from api.schemas import ChatAnswer, ChatMessageRequest
from chat.session import ChatRequest, StreamEvent, TurnResult, run_turn
from chat.turns import TurnStream
from storage.locks import LockBusy

#: How often a stream that has nothing to tell says that it is still there, in seconds.
KEEP_ALIVE = 15.0

router = APIRouter(prefix="/v1/chat", tags=["chat"], responses=responses(400, 401, 413, 422, 429))


@router.post(
    "/supervisor",
    response_model=ChatAnswer,
    responses={
        **responses(403, 409, 502, 503),
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    },
)
async def chat(
    body: ChatMessageRequest, request: Request, parts: AppStateDep, once: Annotated[IdempotentRequest, Depends()]
) -> Response:
    """One turn of a talk. With `Accept: text/event-stream` it is told as it goes: token, tool, done, error.

    What was begun goes on to its end when the connection is lost. The same message sent again at once is the same.
    """
    as_stream = "text/event-stream" in request.headers.get("accept", "")
    if given := await once.given(body):
        return _streamed(_again(given.body)) if as_stream else JSONResponse(given.body)
    asked = ChatRequest(
        session_id=body.session_id or f"talk_{uuid4().hex}",
        message=body.message,
        begins=body.session_id is None,
        once=once.key,
        base_url=base_url(request, parts),
    )
    heard = parts.turns.begin(_kept(run_turn(parts.services, parts.model, asked, who=once.who), once))
    if as_stream:
        return _streamed(_stream(heard))
    try:
        return JSONResponse(answer(await heard.turn()))
    except LockBusy:
        raise busy() from None


def _streamed(told: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(told, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _again(kept: dict[str, Any]) -> AsyncIterator[str]:
    """The end of a turn that was told before."""
    yield _event("done", kept)


async def _kept(
    turn: AsyncIterator[StreamEvent | TurnResult], once: IdempotentRequest
) -> AsyncIterator[StreamEvent | TurnResult]:
    """The turn, whose answer is kept for the request's Idempotency-Key, whether anybody listens to the end or not."""
    async with once.under_way() as keep:
        async for said in turn:
            if isinstance(said, TurnResult):
                await keep(answer(said))
            yield said


def busy() -> ApiError:
    """Somebody else speaks in this session."""
    return ApiError(409, "session_busy", "This session is answering another message: wait for it.")


async def _stream(heard: TurnStream) -> AsyncIterator[str]:
    try:
        while not isinstance(said := await heard.within(KEEP_ALIVE), TurnResult):
            if said is None:
                yield ": still here\n\n"
            else:
                yield _event(said.kind, {"text": said.text} if said.kind == "token" else {"name": said.text})
        yield _event("done", answer(said))
    except LockBusy:
        yield _event("error", busy().body)
    except Exception as error:
        yield _event("error", to_api_error(error).body)


def answer(turn: TurnResult) -> dict[str, Any]:
    """The turn in the words of the API reference."""
    return {
        "session_id": turn.session_id,
        "response": turn.response,
        "run_ids": turn.run_ids,
        "pending_decision": turn.pending.as_json() if turn.pending else None,
    }


def _event(kind: str, value: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"
