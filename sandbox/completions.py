"""Completions: a reply of the language model in the exact shapes of Chat Completions, whole or as a stream."""

import json
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PIECE = 24


@dataclass(frozen=True)
class Call:
    """A call of a tool; its arguments are JSON as text."""

    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")


@dataclass(frozen=True)
class Reply:
    """What the model says, and why it stopped."""

    content: str | None = None
    calls: list[Call] = field(default_factory=list)
    refusal: str | None = None
    finish: str | None = None

    @property
    def finish_reason(self) -> str:
        """Why it stopped."""
        return self.finish or ("tool_calls" if self.calls else "stop")


@dataclass(frozen=True)
class Head:
    """What every part of one answer begins with."""

    model: str
    prompt_tokens: int
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(14)}")
    created: int = field(default_factory=lambda: int(time.time()))


def completion(head: Head, reply: Reply) -> dict[str, Any]:
    """The whole answer at once."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
    if reply.calls:
        message["tool_calls"] = [_call(call) for call in reply.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    return {**_top(head, "chat.completion"), "choices": [choice], "usage": usage(head, reply)}


def chunks(head: Head, reply: Reply, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """The answer piece by piece: role, content or calls, the reason it stopped, and what it used."""
    yield _chunk(head, {"role": "assistant", "content": "" if reply.content is not None else None})
    for piece in re.findall(rf"(?s).{{1,{PIECE}}}", reply.content or ""):
        yield _chunk(head, {"content": piece})
    for piece in re.findall(rf"(?s).{{1,{PIECE}}}", reply.refusal or ""):
        yield _chunk(head, {"refusal": piece})
    for index, call in enumerate(reply.calls):
        begun = _call(call) | {"index": index, "function": {"name": call.name, "arguments": ""}}
        yield _chunk(head, {"tool_calls": [begun]})
        for piece in re.findall(rf"(?s).{{1,{PIECE}}}", call.arguments):
            yield _chunk(head, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield _chunk(head, {}, reply.finish_reason)
    if include_usage:
        yield {**_top(head, "chat.completion.chunk"), "choices": [], "usage": usage(head, reply)}


def event(chunk: dict[str, Any]) -> bytes:
    """A chunk as a server-sent event."""
    return f"data: {json.dumps(chunk)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def usage(head: Head, reply: Reply) -> dict[str, Any]:
    """What it used; a token is four characters here."""
    said = len(reply.content or "") + len(reply.refusal or "")
    said += sum(len(call.name) + len(call.arguments) for call in reply.calls)
    used = said // 4 + 1
    return {
        "prompt_tokens": head.prompt_tokens,
        "completion_tokens": used,
        "total_tokens": head.prompt_tokens + used,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _top(head: Head, kind: str) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": kind,
        "created": head.created,
        "model": head.model,
        "system_fingerprint": "fp_sandbox",
    }


def _chunk(head: Head, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**_top(head, "chat.completion.chunk"), "choices": [choice]}


def _call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
