"""The seams: what the line asks of those who work for it, and how they may answer.

An order is a plain JSON request under an idempotency key. A provider is asked three things about it: `submit`
places it, `lookup` looks for one that may have been placed, `poll` tells how far it is and brings the result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

Json = Mapping[str, Any]
Progress = Callable[[float], Awaitable[None]]


class ProviderError(Exception):
    """Somebody who works for us could not do as asked."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Unavailable(ProviderError):
    """It did not answer, or asked us to wait. Nothing was changed by the question: ask again later."""


class NotSent(Unavailable):
    """The order certainly did not arrive: it may be placed again."""


class Refused(ProviderError):
    """The order was refused for good: nothing was made and nothing is charged."""


class OutcomeUnknown(ProviderError):
    """The order may or may not have arrived: look for it, never place it again blindly."""


@dataclass(frozen=True)
class Pending:
    """Not finished. `progress` is 0..1 where the provider tells it."""

    progress: float | None = None


@dataclass(frozen=True)
class Failed:
    """Finished without a result, for good. `code` is snake_case, `message` a sentence a person can act on.

    `charged` is whether it was made, and so is charged for, and only cannot be had or used.
    """

    code: str
    message: str
    charged: bool = False


@dataclass(frozen=True)
class NotFound:
    """The provider does not know the order, or not any more. That may pass; whether it is charged is not known."""


@dataclass(frozen=True)
class Succeeded:
    """Finished. `file` lies in the folder that was handed in and is moved away by the caller.

    `original` is the file as the provider sent it, where `file` was made from it. `facts` is small JSON: of
    a clip or film `seconds`, `width`, `height`, `codec`, …; of a publication the links, by platform.
    """

    file: Path | None = None
    original: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)


PollResult = Pending | Failed | NotFound | Succeeded


class Provider(Protocol):
    """Somebody who takes orders: a maker of clips, a renderer, a publisher."""

    #: Who and, where money or a post is at stake, where: another address or account of the same kind has another name.
    name: str
    #: How long after the call an order that cannot be found may still turn up.
    lookup_window: timedelta

    async def submit(self, request: Json, *, key: str) -> str:
        """Place the order and return the provider's id of it. Makes one call, never repeated here.

        Raises NotSent, Refused or OutcomeUnknown; nothing else.
        """
        ...

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Ids of orders like this one, placed at or after `since`, oldest first; empty when none is seen.

        Raises Unavailable when the question could not be asked.
        """
        ...

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Where a person can look for an order whose outcome is unknown: an address, or a few words."""
        ...

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """How far the order is. A result is fetched, checked and laid into the folder `into`.

        Raises Unavailable when it cannot be told now.
        """
        ...


class Files(Protocol):
    """The kept files, by their digest."""

    async def local_path(self, digest: str) -> Path:
        """A readable local path to the file whose sha256 (lower-case hex) is `digest`, checked byte for byte.

        Raises ArtifactMissing or ArtifactChanged.
        """
        ...


class ArtifactMissing(ProviderError):
    """A file that should be kept is not there."""

    def __init__(self, digest: str) -> None:
        super().__init__("artifact_missing", f"The file {digest[:12]}… is not in the store.")


class ArtifactChanged(ProviderError):
    """A kept file is not the one that was stored under its digest."""

    def __init__(self, digest: str) -> None:
        super().__init__("artifact_changed", f"The file {digest[:12]}… was changed after it was stored.")
