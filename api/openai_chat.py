"""`/v1/models` and `/v1/chat/completions`: the supervisor for clients that speak OpenAI's chat completions.

One conversation of the client is one session: it is known by a header that the client sends along. Without one the
client's own history is all there is, and the supervisor only reads.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from agents.structured import check_complete, clean_text
from api.authentication import AppStateDep, authenticate_key, base_url, bearer_token
from api.chat import KEEP_ALIVE, busy
from api.errors import ApiError, to_api_error
from api.wiring import AppState
from chat.confirmations import code_redactor
from chat.session import ChatRequest, StreamEvent, TurnResult, run_turn
from chat.turns import TurnStream
from providers.chat_models import model_errors
from storage.api_keys import ApiKeyRow
from storage.locks import LockBusy

SUPERVISOR, UTILITY = "supervisor", "utility"
MODELS_CREATED_AT = 1_767_225_600
#: Where a client says which conversation this is: Open WebUI, LibreChat and whoever likes.
CONVERSATION = ("x-openwebui-chat-id", "x-conversation-id")
#: What stands there when the client does not know it yet, or was not told how to fill it in.
PLACEHOLDER_IDS = {"", "new", "null", "none", "undefined", "pending"}
#: How the clients' own questions on the side begin: titles, tags, follow-ups, searches. Open WebUI lays "### Task:"
#: before a person's own words, too, when a file goes with them: "Respond to the user query …".
SIDE_REQUEST = re.compile(
    r"\s*(?:### Task:\s*(?:Generate|Suggest|Analyze|You are an autocompletion)\b"
    r"|(?:Please )?(?:Provide|Generate|Write) an? (?:extremely )?concise(?:, 5-word-or-less)? title\b"
    r"[^\n]{0,40}\b(?:the|this|a) conversation"
    r"|Analyze this conversation and provide:"
    r"|Detect (?:the|user) language\b)",
    re.IGNORECASE,
)
#: How long an answer may take to begin before the stream does, in seconds: until then an error has its own status.
FIRST_EVENT_SECONDS = 5.0
#: How much of the client's history is read: messages, and characters of each.
MAX_HISTORY_MESSAGES, MAX_MESSAGE_CHARACTERS = 30, 20_000


class OpenAIErrorRoute(APIRoute):
    """A route whose errors have the shape that clients of OpenAI know."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with every refusal told in that shape."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except LockBusy:
                return openai_error_response(busy())
            except (RequestValidationError, HTTPException) as error:
                return openai_error_response(ApiError(400, "invalid_request", _first(error)))
            except Exception as error:
                return openai_error_response(to_api_error(error))

        return handled


class Message(BaseModel):
    """A message, by whomever."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[dict[str, Any]] | None = None


class Completion(BaseModel):
    """What clients send. Fields that mean nothing to us are let be."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None


class OpenAIError(BaseModel):
    """An error as OpenAI's clients know it."""

    model_config = ConfigDict(extra="allow")

    error: dict[str, Any]


async def _caller(request: Request, parts: AppStateDep) -> ApiKeyRow:
    return await authenticate_key(request, parts, bearer_token(request) or request.headers.get("x-api-key"))


Who = Annotated[ApiKeyRow, Depends(_caller)]

router = APIRouter(
    prefix="/v1",
    tags=["chat clients"],
    route_class=OpenAIErrorRoute,
    responses={status: {"model": OpenAIError} for status in (400, 401, 429)},
)


@router.get("/models")
async def models(_who: Who) -> dict[str, Any]:
    """The two models: the supervisor, and one for titles and the like, which can do nothing."""
    return {"object": "list", "data": [_model(name) for name in (SUPERVISOR, UTILITY)]}


@router.get("/models/{model}", responses={404: {"model": OpenAIError}})
async def model(model: str, _who: Who) -> dict[str, Any]:
    """One of them."""
    return _model(_named(model))


@router.post(
    "/chat/completions",
    responses={
        **{status: {"model": OpenAIError} for status in (403, 404, 409, 413, 502, 503)},
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}, "application/json": {"schema": {}}}},
    },
    response_class=JSONResponse,
)
async def completions(body: Completion, request: Request, parts: AppStateDep, who: Who) -> Response:
    """The next turn of a conversation, whole or as a stream."""
    name = _named(body.model)
    if body.messages[-1].role != "user":
        raise ApiError(400, "invalid_request", "The last message must be the person's.")
    message = text_of(body.messages[-1])
    if name == UTILITY or SIDE_REQUEST.match(message):
        turn = _aside(parts, body.messages, who)
    else:
        asked = ChatRequest(
            session_id=session_id_of(request, who),
            message=message,
            history=history_of(body.messages[:-1]),
            base_url=base_url(request, parts),
        )
        turn = run_turn(parts.services, parts.model, asked, who=who)
    heard = parts.turns.begin(turn)
    head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": name}
    if not body.stream:
        return JSONResponse(_whole(head, await heard.turn()))
    first = await heard.within(FIRST_EVENT_SECONDS)
    with_usage = bool((body.stream_options or {}).get("include_usage"))
    return StreamingResponse(
        _stream(head, first, heard, with_usage=with_usage),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache"},
    )


def session_id_of(request: Request, who: ApiKeyRow) -> str | None:
    """The session of this conversation, which is of this key alone; None where the client names none."""
    for header in CONVERSATION:
        named = request.headers.get(header, "").strip()
        if named.lower() not in PLACEHOLDER_IDS and "{{" not in named:
            plain = re.fullmatch(r"[A-Za-z0-9._:-]{1,80}", named)
            return f"openai:{who.id}:{named if plain else hashlib.sha256(named.encode()).hexdigest()}"
    return None


def text_of(message: Message) -> str:
    """What a message says, whether it came as a string or in parts. Pictures and the like say nothing."""
    if isinstance(message.content, str):
        return message.content
    parts = (part.get("text") for part in message.content or [] if part.get("type") == "text")
    return "\n".join(part for part in parts if isinstance(part, str))


def history_of(messages: Sequence[Message]) -> list[tuple[Literal["user", "assistant"], str]]:
    """What the client says was said before, and by whom: words only."""
    said: list[tuple[Literal["user", "assistant"], str]] = []
    for message in messages:
        text = clean_text(text_of(message))[:MAX_MESSAGE_CHARACTERS]
        if text and message.role in ("user", "assistant"):
            said.append(("user" if message.role == "user" else "assistant", text))
    return said[-MAX_HISTORY_MESSAGES:]


async def _aside(
    parts: AppState, messages: Sequence[Message], who: ApiKeyRow
) -> AsyncIterator[StreamEvent | TurnResult]:
    """An answer of the model alone: no tools, no memory, nothing that comes about."""
    hidden = await code_redactor(parts.services, who)
    asked: list[AnyMessage] = [
        SystemMessage(text) if one.role in ("system", "developer") else HumanMessage(text)
        for one in messages[-MAX_HISTORY_MESSAGES:]
        if one.role != "assistant" and (text := hidden(clean_text(text_of(one))[:MAX_MESSAGE_CHARACTERS]))
    ]
    if not any(isinstance(one, HumanMessage) for one in asked):
        raise ApiError(400, "invalid_request", "The last message says nothing.")
    async with model_errors():
        answer = await parts.model.ainvoke(asked)
    check_complete(answer)
    usage = answer.usage_metadata
    tokens = (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0)
    await parts.services.ledger.record_usage(f"chat:{answer.id}", *tokens)
    yield StreamEvent("token", str(answer.text))
    yield TurnResult(None, str(answer.text), tokens=tokens)


def openai_error_response(error: ApiError) -> JSONResponse:
    """An error in OpenAI's shape."""
    return JSONResponse(_theirs(error), error.status if error.status != 422 else 400, error.headers)


def _theirs(error: ApiError) -> dict[str, Any]:
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = "server_error" if error.status >= 500 else kinds.get(error.status, "invalid_request_error")
    ours = error.body["error"]
    rest = {key: value for key, value in error.body.items() if key != "error"}
    return {"error": {"message": ours["message"], "type": kind, "param": None, "code": ours["code"]}, **rest}


def _first(error: RequestValidationError | HTTPException) -> str:
    if isinstance(error, HTTPException):
        return "The request cannot be read."
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}."


def _named(name: str) -> str:
    if name not in (SUPERVISOR, UTILITY):
        raise ApiError(404, "model_not_found", f"There are the models {SUPERVISOR} and {UTILITY}.")
    return name


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": MODELS_CREATED_AT, "owned_by": "myloware"}


def _usage(turn: TurnResult) -> dict[str, int]:
    given, made = turn.tokens
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _whole(head: dict[str, Any], turn: TurnResult) -> dict[str, Any]:
    message = {"role": "assistant", "content": turn.response, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(turn)}


async def _stream(
    head: dict[str, Any], first: StreamEvent | TurnResult | None, heard: TurnStream, *, with_usage: bool
) -> AsyncIterator[str]:
    usage = {"usage": None} if with_usage else {}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _data({**head, "object": "chat.completion.chunk", "choices": [choice], **usage})

    yield chunk({"role": "assistant", "content": ""})
    told, said = "", first
    try:
        while not isinstance(said, TurnResult):
            if said is None:
                yield ": still here\n\n"
            elif said.kind == "token":
                told += said.text
                yield chunk({"content": said.text})
            said = await heard.within(KEEP_ALIVE)
    except LockBusy:
        yield _data(_theirs(busy()))
        return
    except Exception as error:
        yield _data(_theirs(to_api_error(error)))
        return
    if not told.endswith(said.response):
        yield chunk({"content": said.response})
    yield chunk({}, "stop")
    if with_usage:
        yield _data({**head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(said)})
    yield "data: [DONE]\n\n"


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
