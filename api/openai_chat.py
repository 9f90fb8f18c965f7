"""`/v1/models` and `/v1/chat/completions`: the supervisor for clients of OpenAI's chat completions.

A conversation of the client is one session, identified by a header that the client sends, or by
`metadata.conversation_id`. Without either the history in the request is all that is known, and the supervisor has only
read-only tools. A request of the client itself has no tools, or, where only its place tells it, read-only ones.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException

from agents.texts import clean_text
from api import openai_schemas as schemas
from api.authentication import AppStateDep, CallerDep
from api.errors import ApiError, http_error, to_api_error
from api.openai_schemas import Completion, Model, OpenAIError
from api.schemas import EVENT_STREAM
from chat.session import answer_side_request, run_turn
from chat.side_requests import is_side_request
from chat.turns import ChatRequest, TurnEvent, TurnResult, TurnStream
from storage.actors import ClaimedUser, RequestContext
from storage.api_keys import ApiKeyRow

SUPERVISOR, UTILITY = "supervisor", "utility"
#: The headers that name the conversation: of Open WebUI, and of LibreChat and other clients.
CONVERSATION_HEADERS = ("x-openwebui-chat-id", "x-conversation-id")
#: Values of a client that does not know the id of its conversation, or was not configured to send it.
PLACEHOLDER_IDS = {"", "new", "null", "none", "undefined", "pending"}
#: How long the first event may take before the stream starts: until then an error has its own status code.
FIRST_EVENT_SECONDS = 5.0
MAX_CLAIM_CHARACTERS = 200


class OpenAIErrorRoute(APIRoute):
    """A route with errors in OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with its errors as responses."""
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                return schemas.error_response(http_error(request, error))
            except Exception as error:
                return schemas.error_response(to_api_error(error))

        return handle_errors


router = APIRouter(
    prefix="/v1",
    tags=["chat clients"],
    route_class=OpenAIErrorRoute,
    responses={status: {"model": OpenAIError} for status in (400, 401, 429)},
)


@router.get("/models")
async def list_models(_caller: CallerDep) -> schemas.ModelList:
    """List the models: the supervisor, and one without tools for titles and the like."""
    return schemas.ModelList(data=[Model(id=name) for name in (SUPERVISOR, UTILITY)])


@router.get("/models/{model}", responses={404: {"model": OpenAIError}})
async def get_model(model: str, _caller: CallerDep) -> Model:
    """Return one model."""
    if model not in (SUPERVISOR, UTILITY):
        raise ApiError(404, "model_not_found", f"Model not found. Models: {SUPERVISOR}, {UTILITY}.")
    return Model(id=model)


@router.post(
    "/chat/completions",
    responses={
        **{status: {"model": OpenAIError} for status in (403, 404, 409, 413, 502, 503)},
        200: {"content": {**EVENT_STREAM["content"], "application/json": {"schema": {}}}},
    },
    response_class=JSONResponse,
)
async def create_completion(
    body: schemas.CompletionRequest, request: Request, state: AppStateDep, caller: CallerDep
) -> Response:
    """Answer the last message of a conversation, in one response or as a stream."""
    model = await get_model(body.model, caller)
    if body.messages[-1].role != "user":
        raise ApiError(400, "invalid_request", "The last message must be the user's.")
    message, actor = body.messages[-1].text, replace(caller.actor, claimed_user=_claimed_user(request))
    if model.id == UTILITY or is_side_request(message):
        turn = answer_side_request(state.chat, body.texts[-schemas.MAX_HISTORY_MESSAGES :], actor.id)
    else:
        session_id, context = _session_id(body, request, caller), RequestContext(actor, "chat")
        chat_request = ChatRequest(session_id, message, context, history=body.history, base_url=state.base_url)
        turn = run_turn(state.chat, chat_request)
    stream = state.turns.start(turn, request.is_disconnected)
    completion = Completion(body)
    if not body.stream:
        return completion.whole(await stream.result())
    first = await stream.next_event(FIRST_EVENT_SECONDS)
    return EventSourceResponse(_stream(completion, first, stream), sep="\n")


def _claimed_user(request: Request) -> ClaimedUser | None:
    """Return the user that the client names, as Open WebUI does: with quoted names. None if it names none."""
    claimed = ClaimedUser()
    for field in ("id", "name", "email"):
        value = clean_text(unquote(request.headers.get(f"x-openwebui-user-{field}", "")))
        if value.isprintable() and value:
            claimed[field] = value[:MAX_CLAIM_CHARACTERS]
    return claimed or None


def _session_id(body: schemas.CompletionRequest, request: Request, caller: ApiKeyRow) -> str | None:
    """Return the session of the conversation, separate for each API key; None if the client names none."""
    in_body = body.metadata.get("conversation_id") if isinstance(body.metadata, dict) else None
    for named in (*(request.headers.get(header) for header in CONVERSATION_HEADERS), in_body):
        value = named.strip() if isinstance(named, str) else ""
        if value.lower() not in PLACEHOLDER_IDS and "{{" not in value:
            is_plain = re.fullmatch(r"[A-Za-z0-9._:-]{1,80}", value)
            name = value if is_plain else hashlib.sha256(value.encode()).hexdigest()
            # Sessions of version 0.2 keep their names, which are not public.
            return f"openai:{caller.former_id or caller.id}:{name}"
    return None


async def _stream(completion: Completion, event: TurnEvent | None, stream: TurnStream) -> AsyncIterator[str]:
    yield completion.chunk(role="assistant", content="")
    sent = ""
    try:
        while not isinstance(event, TurnResult):
            if event is not None and event.kind == "token":
                sent += event.text
                if text := completion.add(event.text):
                    yield completion.chunk(content=text)
            event = await stream.next_event()
    except Exception as error:
        yield json.dumps(schemas.error_content(to_api_error(error)), ensure_ascii=False)
        return
    if text := completion.add("" if sent.endswith(event.response) else event.response, is_last=True):
        yield completion.chunk(content=text)
    yield completion.chunk(completion.finish_reason)
    for chunk in completion.last_chunks(event):
        yield chunk
