"""The dependencies of the nodes: protocols for everything outside the graph."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel

from agents.ideator import PreviousReview
from graph.decisions import Gate, RecordedDecision
from graph.review_content import Review
from graph.state import ForkSeed
from prompts.project import Project
from providers.moderation import ModerationResult
from providers.orders import ModelAnswer, Order, OrderKey, OrderStatus, RetryOptions


class Ledger(Protocol):
    """The only way to spend money."""

    async def reserve(self, orders: Sequence[Order]) -> None:
        """Record these orders of one run: all as reserved if decisions and caps allow it, or else all as failed.

        An order that is already recorded is left unchanged.
        """

    async def place_once(self, order: Order) -> None:
        """Place the order at most once for its key, if a decision and the caps allow it.

        The outcome is recorded in the ledger; read it with `statuses`. Raises Unavailable when the ledger itself
        cannot be reached.
        """

    async def cached_answer(self, key: OrderKey, request: Callable[[], Awaitable[ModelAnswer[Any]]]) -> dict[str, Any]:
        """Return a model's answer as JSON, requested once for `key`, so that a node that runs again reads the same."""

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        """Return the statuses of these orders by key; an order that was never recorded is absent."""


class RunFeedback(Protocol):
    """Requests of people other than decisions, and the reviews so far."""

    async def retry_requested_since(self, run_id: str, since: datetime) -> RetryOptions | None:
        """Return the options of the last retry of the failed run that was requested after that time, or None."""

    async def review_history(self, run_id: str, gate: Gate) -> list[PreviousReview]:
        """Return the reviews of this gate so far, oldest first, with the comment on each."""


@dataclass(frozen=True)
class RunSeed:
    """Initial values of a run, in addition to its input: the options and, for a fork, the first channels."""

    options: dict[str, int]
    fork: ForkSeed | None = None


class RunRecords(Protocol):
    """The records of runs and decisions outside the thread."""

    async def load(self, run_id: str, project: str, brief: str) -> RunSeed:
        """Return the seed of the run; Studio creates the record of the run first."""

    async def record_decision(self, run_id: str, review: Review, decision: RecordedDecision) -> int:
        """Record a decision that reached the gate unrecorded, and return its number.

        Only Studio records here. The product records decisions before it resumes the graph, and raises StepFailed.
        """


class Moderation(Protocol):
    """A moderation service."""

    async def check(self, texts: list[str]) -> ModerationResult:
        """Return whether any of these texts is flagged. Raises Unavailable when the service gives no result."""


class Video(Protocol):
    """The video model that clips are ordered from."""

    @property
    def model(self) -> str:
        """Return the name of the model."""

    def price(self, seconds: int, size: str) -> Decimal:
        """Return the price of a clip in USD. Raises ProviderError for a clip that the model cannot generate."""


@dataclass(frozen=True)
class Dependencies:
    """Everything that a node uses from outside. `project` resolves a project by name and options."""

    project: Callable[[str, dict[str, int]], Project]
    model: BaseChatModel
    moderation: Moderation
    video: Video
    ledger: Ledger
    feedback: RunFeedback
    records: RunRecords
