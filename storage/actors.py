"""Actors: the API keys, links and processes that send requests."""

from dataclasses import dataclass
from typing import Literal, NotRequired
from uuid import uuid4

from typing_extensions import TypedDict  # pydantic accepts the one of `typing` from Python 3.12 on only

#: In ascending order: a key of one level has the rights before it.
Right = Literal["start", "approve", "admin"]
ActorKind = Literal["api_key", "link", "local", "deadline", "studio", "upgrade"]
Channel = Literal["api", "cli", "console", "chat", "mcp", "studio", "link", "deadline", "upgrade"]


class ClaimedUser(TypedDict, total=False):
    """The user of a chat client, as the client claims it. It grants nothing and identifies nothing."""

    id: str
    name: str
    email: str


class ActorJson(TypedDict):
    """An actor in event payloads and public JSON. `claimed_user` is what the client claims about its user."""

    kind: str
    id: str
    name: str
    claimed_user: NotRequired[ClaimedUser]


@dataclass(frozen=True)
class Actor:
    """An identity with its rights; without any by default."""

    kind: ActorKind
    id: str
    name: str
    rights: frozenset[Right] = frozenset()
    claimed_user: ClaimedUser | None = None

    @property
    def can_approve(self) -> bool:
        """Return whether the actor can approve at a gate."""
        return "approve" in self.rights

    def as_json(self) -> ActorJson:
        """Return kind, id, name, and the claimed user if there is one."""
        return actor_json(self.kind, self.id, self.name, self.claimed_user)


@dataclass(frozen=True)
class RequestContext:
    """The actor of a request, its channel and its idempotency key. Created once at each entry point."""

    actor: Actor
    channel: Channel
    idempotency_key: str | None = None

    def columns(self) -> dict[str, object]:
        """Return actor and channel as columns."""
        actor = self.actor
        names = {"actor_kind": actor.kind, "actor_id": actor.id, "actor_name": actor.name}
        return {**names, "claimed_user": actor.claimed_user, "channel": self.channel}

    def event_id(self, action: str) -> str:
        """Return the `dedup_key` of the event that this request records; repeated requests share it."""
        return f"{action}:{self.actor.id}:{self.idempotency_key or uuid4()}"


#: The operator at the terminal of the machine that the service runs on.
LOCAL = Actor("local", "local", "local terminal", frozenset({"start", "approve", "admin"}))


def actor_json(kind: str, actor_id: str, name: str, claimed_user: ClaimedUser | None) -> ActorJson:
    """Return an actor as JSON."""
    actor: ActorJson = {"kind": kind, "id": actor_id, "name": name}
    if claimed_user:
        actor["claimed_user"] = claimed_user
    return actor
