"""The JSON of OpenAI's chat completions: requests, answers, chunks and errors."""

import json
import sys
import time
from typing import Any, Literal
from uuid import uuid4

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from agents.texts import clean_text
from api.errors import ApiError
from chat.turns import TurnResult

MODELS_CREATED_AT = 1_767_225_600
#: The part of a client's conversation that is read: messages, and characters of each.
MAX_HISTORY_MESSAGES, MAX_HISTORY_CHARACTERS = 30, 20_000
CHARACTERS_PER_TOKEN = 4
ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Message(BaseModel, extra="allow"):
    """A message of a conversation. Its content is a string or a list of parts."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """Return the text of the message. Images and files have none."""
        if isinstance(self.content, str):
            return self.content
        parts = (part.get("text") for part in self.content or [] if part.get("type") == "text")
        return "\n".join(part for part in parts if isinstance(part, str))


class TextFormat(BaseModel, extra="allow"):
    """The only format of answers."""

    type: Literal["text"]


class CompletionRequest(BaseModel, extra="allow"):
    """The body of a request. Fields that have no meaning here are ignored; `tools` of the client are never called."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    metadata: Any = None
    stop: str | list[str] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: Literal[1] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    response_format: TextFormat | None = None

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Return the messages as (role, text), cleaned and cut."""
        return [(message.role, clean_text(message.text)[:MAX_HISTORY_CHARACTERS]) for message in self.messages]

    @property
    def history(self) -> list[tuple[str, str]]:
        """Return the texts of the user and the assistant before the last message, the newest MAX_HISTORY_MESSAGES."""
        history = [(role, text) for role, text in self.texts[:-1] if text and role in ("user", "assistant")]
        return history[-MAX_HISTORY_MESSAGES:]


class Model(BaseModel):
    """A model that a client can choose."""

    id: str
    object: Literal["model"] = "model"
    created: int = MODELS_CREATED_AT
    owned_by: str = "myloware"


class ModelList(BaseModel):
    """The models that a client can choose."""

    object: Literal["list"] = "list"
    data: list[Model]


class OpenAIError(BaseModel, extra="allow"):
    """An error in OpenAI's shape."""

    error: dict[str, Any]


def error_response(error: ApiError) -> JSONResponse:
    """Return an error response in OpenAI's shape. Invalid requests have the status 400."""
    return JSONResponse(error_content(error), 400 if error.status == 422 else error.status, error.headers)


def error_content(error: ApiError) -> dict[str, object]:
    """Return an error in OpenAI's shape."""
    kind = "server_error" if error.status >= 500 else ERROR_TYPES.get(error.status, "invalid_request_error")
    return {**error.body, "error": {"message": error.message, "type": kind, "param": None, "code": error.code}}


class Completion:
    """An answer with its id, whole or as the chunks of a stream.

    It ends before the first `stop` of the request, and at its `max_tokens`, of about four characters each. What the
    turn does is not changed by that.
    """

    def __init__(self, request: CompletionRequest) -> None:
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": request.model}
        self._includes_usage = bool((request.stream_options or {}).get("include_usage"))
        self._stops = list(filter(None, [request.stop] if isinstance(request.stop, str) else request.stop or []))
        self._most = CHARACTERS_PER_TOKEN * (request.max_completion_tokens or request.max_tokens or sys.maxsize)
        #: The answer so far, and how much of it was returned.
        self._text, self._returned = "", 0

    def add(self, text: str, *, is_last: bool = False) -> str:
        """Add text to the answer, and return what can be sent of it: the start of a `stop` waits for the next text."""
        self._text += text
        stops_at = [at for stop in self._stops if (at := self._text.find(stop)) >= 0]
        held = 0 if is_last or stops_at else max(map(len, self._stops), default=1) - 1
        start = self._returned
        self._returned = max(start, min([*stops_at, self._most, len(self._text) - held]))
        return self._text[start : self._returned]

    @property
    def finish_reason(self) -> str:
        """Return `length` if the answer was cut at its number of tokens, otherwise `stop`."""
        return "length" if self._returned == self._most < len(self._text) else "stop"

    def whole(self, turn: TurnResult) -> JSONResponse:
        """Return the answer as one response."""
        message = {"role": "assistant", "content": self.add(turn.response, is_last=True), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return JSONResponse({**self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(turn)})

    def chunk(self, finish_reason: str | None = None, **delta: str) -> str:
        """Return a chunk with a part of the answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._chunk([choice], {"usage": None} if self._includes_usage else {})

    def last_chunks(self, turn: TurnResult) -> list[str]:
        """Return the chunks that end a stream: the token counts, if requested, and the marker."""
        usage = [self._chunk([], {"usage": _usage(turn)})] if self._includes_usage else []
        return [*usage, "[DONE]"]

    def _chunk(self, choices: list[Any], usage: dict[str, Any]) -> str:
        content = {**self._head, "object": "chat.completion.chunk", "choices": choices, **usage}
        return json.dumps(content, ensure_ascii=False)


def _usage(turn: TurnResult) -> dict[str, int]:
    prompt, completion = turn.tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
