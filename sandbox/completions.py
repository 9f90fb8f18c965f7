"""Messages and replies of the language model in the format of OpenAI Chat Completions, whole or as stream chunks."""

import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

DONE_EVENT = b"data: [DONE]\n\n"


def _join_parts(content: Any) -> Any:
    """Return the text of a content of parts; any other content but a missing one is unchanged."""
    if not isinstance(content, list):
        return content or ""
    return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


class Message(BaseModel):
    """A message of a conversation."""

    role: str
    text: Annotated[str, BeforeValidator(_join_parts), Field(alias="content")] = ""


class Function(BaseModel):
    """A function that the model can call; `parameters` is a JSON schema."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class ToolCall:
    """Call of a tool; `arguments` is JSON text."""

    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")


@dataclass(frozen=True)
class ModelReply:
    """Content of a reply; `stop_reason` overrides the finish reason that follows from the content."""

    content: str | None = None
    calls: list[ToolCall] = field(default_factory=list)
    refusal: str | None = None
    stop_reason: str | None = None

    @property
    def finish_reason(self) -> str:
        """Return the finish reason reported to the client."""
        return self.stop_reason or ("tool_calls" if self.calls else "stop")


def _new_header(model: str) -> dict[str, Any]:
    """Return the fields shared by all chunks of one completion."""
    unique = {"id": f"chatcmpl-{secrets.token_hex(14)}", "created": int(time.time())}
    return {**unique, "model": model, "system_fingerprint": "fp_sandbox"}


def build_completion(model: str, prompt_tokens: int, reply: ModelReply) -> dict[str, Any]:
    """Return the reply as a `chat.completion` object."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
    if reply.calls:
        message["tool_calls"] = [_format_call(call) for call in reply.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    usage = count_usage(prompt_tokens, reply)
    return {**_new_header(model), "object": "chat.completion", "choices": [choice], "usage": usage}


def build_chunks(model: str, prompt_tokens: int, reply: ModelReply, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the reply as `chat.completion.chunk` objects: role, content or calls, finish reason, usage."""
    top = {**_new_header(model), "object": "chat.completion.chunk"}
    for delta in _split_reply(reply):
        yield {**top, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
    yield {**top, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": reply.finish_reason}]}
    if include_usage:
        yield {**top, "choices": [], "usage": count_usage(prompt_tokens, reply)}


def _split_reply(reply: ModelReply) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "" if reply.content is not None else None}
    yield from ({"content": part} for part in _split(reply.content or ""))
    yield from ({"refusal": part} for part in _split(reply.refusal or ""))
    for index, call in enumerate(reply.calls):
        yield {"tool_calls": [_format_call(call) | {"index": index, "function": {"name": call.name, "arguments": ""}}]}
        for part in _split(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


def count_usage(prompt_tokens: int, reply: ModelReply) -> dict[str, Any]:
    """Return the token usage of a reply; one token is four characters."""
    texts = [reply.content or "", reply.refusal or "", *(call.name + call.arguments for call in reply.calls)]
    tokens = sum(map(len, texts)) // 4 + 1
    return {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens}


def _split(text: str) -> list[str]:
    return re.findall(r"(?s).{1,24}", text)


def _format_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
