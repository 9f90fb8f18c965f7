"""What a provider reports of an order that is polled, or of orders that may be the same."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Pending:
    """The order is not finished. `progress` is 0..1, None if the provider does not report it."""

    progress: float | None = None


@dataclass(frozen=True)
class Failed:
    """The order ended without a usable result. `message` is a sentence that helps the user to act."""

    code: str
    message: str
    #: Whether the provider produced a result, and so charges for it, that cannot be downloaded or used.
    charged: bool = False


@dataclass(frozen=True)
class NotFound:
    """The provider does not know the order. This can be temporary; it is unknown whether the order is charged."""


@dataclass(frozen=True)
class Succeeded:
    """The order is finished."""

    #: The result, in the folder that was passed to `poll`. The caller moves it away.
    file: Path | None = None
    #: The file as the provider sent it, if `file` was derived from it.
    original: Path | None = None
    #: Small JSON. Of a clip or film `seconds`, `width`, `height`, `codec`, …; of a publication its links by platform.
    facts: dict[str, Any] = field(default_factory=dict)
    #: The subtitles of a film with captions, as SubRip.
    subtitles: str = ""


@dataclass(frozen=True)
class FileMissing:
    """The order is finished, and its file cannot be downloaded. This can be temporary; else it is the `failure`."""

    failure: Failed


@dataclass(frozen=True)
class Candidate:
    """An order at the provider that may be one of unknown outcome: it matches as far as the provider reports it."""

    task_id: str
    #: In the provider's words.
    status: str
    created_at: datetime
    #: Where a person can look at it.
    url: str


PollResult = Pending | Failed | NotFound | FileMissing | Succeeded
