"""The interface of providers and their errors.

An order is a JSON request under an idempotency key. A provider implements three operations on it: `submit` places
the order, `lookup` searches for an order that may have been placed, `poll` returns its progress or its result.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from providers.results import Candidate, PollResult

Json = Mapping[str, Any]
Progress = Callable[[float], Awaitable[None]]


class ProviderError(Exception):
    """A call to an external service failed. `code` is snake_case, `message` a sentence for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Unavailable(ProviderError):
    """The service did not respond, or its rate limit is exceeded. The call changed nothing and can be retried."""


class Unconfirmed(Unavailable):
    """The service reports the end of an order without saying of every part whether it was made.

    `facts` are those of `Succeeded`, as far as they are known; for a publication `unconfirmed` lists the platforms
    that are neither published nor failed by their own word.
    """

    def __init__(self, code: str, message: str, facts: Mapping[str, Any]) -> None:
        super().__init__(code, message)
        self.facts = dict(facts)


def disk_unwritable(setting: str, error: OSError) -> Unavailable:
    """Return the error for a folder that cannot be written now, because the disk is full for example."""
    return Unavailable("disk_unwritable", f"{setting}: the folder cannot be written: {error.strerror or error}.")


class NotSent(Unavailable):
    """The order did not reach the provider. It can be placed again."""


class Refused(ProviderError):
    """The order is refused permanently. Nothing is charged."""


class OutcomeUnknown(ProviderError):
    """The order may have reached the provider. Look it up before placing it again."""


class ArtifactMissing(Refused):
    """A stored file does not exist: an order that needs it is refused."""

    def __init__(self, digest: str) -> None:
        super().__init__("artifact_missing", f"The file {digest[:12]}… is not in the store.")


class ArtifactChanged(Refused):
    """A stored file does not match its digest: an order that needs it is refused."""

    def __init__(self, digest: str) -> None:
        super().__init__("artifact_changed", f"The file {digest[:12]}… was changed after it was stored.")


class Unusable(ProviderError):
    """A file cannot be used, or cannot be made from others: another attempt would end in the same way."""


class InvalidClip(Unusable):
    """The delivered file cannot be used as a clip and is not repaired silently: order the clip again.

    The code is one of `clip_empty`, `clip_not_mp4`, `clip_truncated`, `clip_corrupt`, `clip_too_large`,
    `clip_wrong_format` and `clip_wrong_length`.
    """


#: The pauses between attempts to learn of an order, in seconds; the last one repeats.
PAUSES_SECONDS = (1, 1, 2, 2, 3, 5, 5, 10, 15)


def default_pause(attempts: int) -> timedelta:
    """Return the pause after so many attempts to learn of an order."""
    return timedelta(seconds=PAUSES_SECONDS[min(attempts, len(PAUSES_SECONDS) - 1)])


def short_name(name: str) -> str:
    """Return the name of a provider without its host and account, as the settings and approved offers name it."""
    return name.partition(":")[0]


class Provider(Protocol):
    """A service that takes orders: it generates clips, renders films or publishes them."""

    #: The name of the service. Where money or a publication is involved it contains the host and the account: the
    #: same kind of service at another host or for another account has another name.
    name: str
    #: The time after the call within which an order that `lookup` does not find may still appear.
    lookup_window: timedelta
    #: The time after the call within which `submit` may be called again with the same request and key, because the
    #: service recognises the key and returns the first order; None if another call may be another order.
    replayable: timedelta | None = None
    #: How long the service stores a finished result at least; None if that is not known.
    result_lifetime: timedelta | None = None
    #: What a lookup can prove about an order of unknown outcome, as a sentence for a person.
    lookup_proof: str = "The provider knows every order by an id that was chosen before the call."

    async def check(self) -> None:
        """Ask the service something that costs nothing. Raises Unavailable when it does not answer as expected."""
        return  # no service, no question

    def poll_pause(self, polls: int) -> timedelta:
        """Return the pause after so many polls of an unfinished order."""
        return default_pause(polls)

    async def submit(self, request: Json, *, key: str) -> str:
        """Place the order with a single call, which is never retried here, and return the provider's id of it.

        Everything that the provider receives derives from `request` and `key`, a callback URL included: a replay
        repeats the first call byte for byte, even if the settings have changed since.
        Raises NotSent, Refused or OutcomeUnknown; nothing else.
        """

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the ids of matching orders placed at or after `since`, oldest first. Raises Unavailable."""
        return []  # without a list of orders

    async def find_existing(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return what `lookup` returns, but for an order that may never have been placed. Raises Unavailable."""
        return await self.lookup(request, key=key, since=since)

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return where a person can look up an order of unknown outcome: a URL, or a few words."""

    async def candidates(self, request: Json, *, since: datetime) -> list[Candidate]:
        """Return the orders since then that may be this one, if a lookup cannot tell, in order. Raises Unavailable."""
        return []

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Return the status of the order; a finished result is in the folder `into`, validated. Raises Unavailable."""


class Files(Protocol):
    """The stored files, by digest."""

    async def local_path(self, digest: str) -> Path:
        """Return the path of the file with this sha256 (hex), verified. Raises ArtifactMissing or ArtifactChanged."""
