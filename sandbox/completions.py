"""Replies of the language model in the format of OpenAI Chat Completions, whole or as stream chunks."""

import json
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CHUNK_LENGTH = 24
DONE_EVENT = b"data: [DONE]\n\n"


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


@dataclass(frozen=True)
class CompletionHeader:
    """Fields shared by all chunks of one completion."""

    model: str
    prompt_tokens: int
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(14)}")
    created: int = field(default_factory=lambda: int(time.time()))


def build_completion(header: CompletionHeader, reply: ModelReply) -> dict[str, Any]:
    """Return the reply as a `chat.completion` object."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
    if reply.calls:
        message["tool_calls"] = [_format_call(call) for call in reply.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    return {**_format_header(header, "chat.completion"), "choices": [choice], "usage": count_usage(header, reply)}


def build_chunks(header: CompletionHeader, reply: ModelReply, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the reply as `chat.completion.chunk` objects: role, content or calls, finish reason, usage."""
    yield _format_chunk(header, {"role": "assistant", "content": "" if reply.content is not None else None})
    for part in _split(reply.content or ""):
        yield _format_chunk(header, {"content": part})
    for part in _split(reply.refusal or ""):
        yield _format_chunk(header, {"refusal": part})
    for index, call in enumerate(reply.calls):
        start = _format_call(call) | {"index": index, "function": {"name": call.name, "arguments": ""}}
        yield _format_chunk(header, {"tool_calls": [start]})
        for part in _split(call.arguments):
            yield _format_chunk(header, {"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield _format_chunk(header, {}, reply.finish_reason)
    if include_usage:
        top = _format_header(header, "chat.completion.chunk")
        yield {**top, "choices": [], "usage": count_usage(header, reply)}


def encode_event(chunk: dict[str, Any]) -> bytes:
    """Return a chunk encoded as a server-sent event."""
    return f"data: {json.dumps(chunk)}\n\n".encode()


def count_usage(header: CompletionHeader, reply: ModelReply) -> dict[str, Any]:
    """Return the token usage of a reply; one token is four characters."""
    length = len(reply.content or "") + len(reply.refusal or "")
    length += sum(len(call.name) + len(call.arguments) for call in reply.calls)
    completion_tokens = length // 4 + 1
    return {
        "prompt_tokens": header.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": header.prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _split(text: str) -> list[str]:
    return re.findall(rf"(?s).{{1,{CHUNK_LENGTH}}}", text)


def _format_header(header: CompletionHeader, kind: str) -> dict[str, Any]:
    return {
        "id": header.id,
        "object": kind,
        "created": header.created,
        "model": header.model,
        "system_fingerprint": "fp_sandbox",
    }


def _format_chunk(header: CompletionHeader, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**_format_header(header, "chat.completion.chunk"), "choices": [choice]}


def _format_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
