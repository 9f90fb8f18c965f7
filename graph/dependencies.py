"""What a node may ask for. Everything outside the graph comes in through here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel

from agents.ideator import PreviousReview
from graph.state import Gate
from prompts.project import Project
from providers.moderation import Verdict
from providers.orders import ModelAnswer, Order, OrderStatus, RetryOptions


class Ledger(Protocol):
    """The only way to spend."""

    async def reserve(self, orders: Sequence[Order]) -> None:
        """Write these orders of one run down, all of them if decisions and caps allow it, or else all as failed.

        An order that is written down already is left as it is. Whoever finds one reserved may place it.
        """
        ...

    async def place_once(self, order: Order) -> None:
        """Place the order, at most once for its key, if a decision and the caps allow it.

        Whatever comes of it stands in the ledger; read it with `standing`. Raises Unavailable when the ledger
        itself cannot be reached.
        """
        ...

    async def cached_answer(
        self, key: str, run_id: str, ask: Callable[[], Awaitable[ModelAnswer[Any]]]
    ) -> dict[str, Any]:
        """A model's answer as JSON, asked for once for `key` and kept, so that a node run again reads the same."""
        ...

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        """How these orders stand, by key; an order that was never written down is absent."""
        ...


class RunFeedback(Protocol):
    """What people did beside deciding."""

    async def retry_requested_since(self, run_id: str, since: datetime) -> bool:
        """Whether a person asked to try a failed run again after that."""
        ...

    async def retry_options(self, run_id: str) -> RetryOptions:
        """What the person wanted done differently, who asked last."""
        ...

    async def review_history(self, run_id: str, gate: Gate) -> list[PreviousReview]:
        """The reviews of this gate so far, oldest first, with what was said of each."""
        ...


class Moderation(Protocol):
    """Somebody who says what must not be made."""

    async def check(self, texts: list[str]) -> Verdict:
        """Whether any of these is flagged. Raises Unavailable when it cannot be told."""
        ...


class Video(Protocol):
    """What the video provider can do and asks for it."""

    @property
    def model(self) -> str: ...

    def price(self, seconds: int, size: str) -> Decimal:
        """What a clip costs, in USD."""
        ...


@dataclass(frozen=True)
class Dependencies:
    """Everything a node may ask for."""

    project: Callable[[str, dict[str, int]], Project]
    model: BaseChatModel
    moderation: Moderation
    video: Video
    ledger: Ledger
    feedback: RunFeedback
