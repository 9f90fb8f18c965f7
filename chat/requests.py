"""The input and the output of a chat turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from chat.confirmations import PendingConfirmation
from storage.actors import RequestContext


@dataclass(frozen=True)
class ChatRequest:
    """A message of a person.

    Attributes:
        session_id: The chat session. Without one nothing is remembered, and only read-only tools are available.
        message: The text of the message.
        context: The actor, the channel and the idempotency key of the request.
        is_new_session: Whether the session starts with this message.
        history: The messages before it as (role, text), if the client sends them along; None if it never does.
        base_url: The address that links start with.
    """

    session_id: str | None
    message: str
    context: RequestContext
    is_new_session: bool = False
    history: Sequence[tuple[Literal["user", "assistant"], str]] | None = None
    base_url: str = ""


@dataclass(frozen=True)
class StreamEvent:
    """An event while a turn runs: `token` with a piece of the response, or `tool` with the name of a tool."""

    kind: Literal["token", "tool"]
    text: str


@dataclass(frozen=True)
class TurnResult:
    """The result of a turn. `tokens` are its input and output tokens."""

    session_id: str | None
    response: str
    run_ids: list[str] = field(default_factory=list)
    pending: PendingConfirmation | None = None
    tokens: tuple[int, int] = (0, 0)
