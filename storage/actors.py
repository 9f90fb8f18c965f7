"""Actors: the API keys, links and processes that send requests."""

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from typing_extensions import TypedDict  # pydantic accepts the one of `typing` from Python 3.12 on only

Right = Literal["start", "approve"]
ActorKind = Literal["api_key", "link", "local", "deadline", "studio"]
Channel = Literal["api", "cli", "console", "chat", "mcp", "studio", "link", "deadline"]


class ActorJson(TypedDict):
    """An actor in event payloads and public JSON."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True)
class Actor:
    """An identity with its rights; without any by default."""

    kind: ActorKind
    id: str
    name: str
    rights: frozenset[Right] = frozenset()

    @property
    def can_approve(self) -> bool:
        """Return whether the actor can approve at a gate."""
        return "approve" in self.rights

    def as_json(self) -> ActorJson:
        """Return kind, id and name."""
        return {"kind": self.kind, "id": self.id, "name": self.name}


@dataclass(frozen=True)
class RequestContext:
    """The actor of a request, its channel and its idempotency key. Created once at each entry point."""

    actor: Actor
    channel: Channel
    idempotency_key: str | None = None

    def columns(self) -> dict[str, object]:
        """Return actor and channel as columns: `actor_kind`, `actor_id`, `actor_name` and `channel`."""
        return {f"actor_{name}": value for name, value in self.actor.as_json().items()} | {"channel": self.channel}

    def event_id(self, action: str) -> str:
        """Return the `dedup_key` of the event that this request records; repeated requests share it."""
        return f"{action}:{self.actor.id}:{self.idempotency_key or uuid4()}"


#: The operator at the terminal of the machine that the service runs on.
LOCAL = Actor("local", "local", "local terminal", frozenset({"start", "approve"}))
