"""`POST /v1/chat/supervisor`: talk with the supervisor."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from api.callers import Parts
from api.errors import ApiError, as_api_error, responses
from api.idempotency import Once
from api.schemas import ChatAnswer, ChatMessage
from runs.talk import Said, Turn, talk
from storage.locks import Busy

router = APIRouter(prefix="/v1/chat", tags=["chat"], responses=responses(400, 401, 413, 422, 429))


@router.post(
    "/supervisor",
    response_model=ChatAnswer,
    responses={
        **responses(409, 502, 503),
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    },
)
async def chat(body: ChatMessage, request: Request, parts: Parts, once: Annotated[Once, Depends()]) -> Response:
    """One turn of a talk. With `Accept: text/event-stream` it is told as it goes: token, tool, done, error."""
    session_id = body.session_id or f"talk_{uuid4().hex}"
    turn = talk(parts.production, parts.model, session_id, body.message, said_by=once.who.id)
    if "text/event-stream" in request.headers.get("accept", ""):
        return StreamingResponse(_stream(turn), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def do() -> dict[str, Any]:
        answer: dict[str, Any] = {}
        async for said in _told(turn):
            if isinstance(said, Turn):
                answer = _answer(said)
        return answer

    return await once(body, do)


async def _told(turn: AsyncIterator[Said | Turn]) -> AsyncIterator[Said | Turn]:
    try:
        async for said in turn:
            yield said
    except Busy:
        raise ApiError(409, "session_busy", "This session is answering another message: wait for it.") from None


async def _stream(turn: AsyncIterator[Said | Turn]) -> AsyncIterator[str]:
    try:
        async for said in _told(turn):
            if isinstance(said, Turn):
                yield _event("done", _answer(said))
            else:
                yield _event(said.kind, {"text": said.text} if said.kind == "token" else {"name": said.text})
    except Exception as error:
        yield _event("error", as_api_error(error).body)


def _answer(turn: Turn) -> dict[str, Any]:
    return {
        "session_id": turn.session_id,
        "response": turn.response,
        "run_ids": turn.run_ids,
        "pending_decision": None,
    }


def _event(kind: str, value: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"
