"""The dependencies of the nodes: providers, and protocols for what the layers above the graph implement."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel

from agents.roles import PreviousReview
from graph.decisions import Gate, RecordedDecision
from graph.review_content import Review
from graph.state import RunState
from prompts.project import Project
from providers.film_mark import Provenance
from providers.moderation import Moderation, Moderator
from providers.orders import ModelAnswer, Order, OrderKey, OrderStatus, RetryOptions
from providers.speech import SpeechOffer
from providers.video_models import VideoModels


class Ledger(Protocol):
    """The only way to spend money."""

    async def reserve(self, orders: Sequence[Order]) -> None:
        """Record new orders of one run: as reserved if decisions and caps allow all of them, or else all as failed."""

    async def place(self, key: str) -> None:
        """Place a reserved order as `place_once` does."""

    async def place_once(self, order: Order) -> None:
        """Reserve and place the order at most once for its key, if a decision and the caps allow it.

        The outcome is recorded in the ledger; read it with `statuses`. Raises Unavailable when the ledger itself
        cannot be reached.
        """

    async def cached_answer(self, key: OrderKey, request: Callable[[], Awaitable[ModelAnswer[Any]]]) -> dict[str, Any]:
        """Return a model's answer as JSON, requested once for `key`, so that a node that runs again reads the same."""

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        """Return the statuses of these orders by key; an order that was never recorded is absent."""


class RunRecords(Protocol):
    """The records of runs, decisions and other requests of people outside the thread."""

    async def load(self, run_id: str, project: str, brief: str) -> RunState:
        """Return the first channels of the run, in addition to its input; Studio creates the record of the run first.

        They are its id and options and, for a fork, the ideas and the clips that the source run already paid for.
        """

    async def record_decision(self, run_id: str, review: Review, decision: RecordedDecision) -> int:
        """Record a decision that reached the gate unrecorded, and return its number.

        Only Studio records here. The product records decisions before it resumes the graph, and raises StepFailed.
        """

    async def is_approved_unsigned(self, decision: int) -> bool:
        """Return whether the decision approved a film before films were signed: it is carried out as it was given."""

    async def retry_requested_since(self, run_id: str, since: datetime) -> RetryOptions | None:
        """Return the options of the last retry of the failed run that was requested after that time, or None."""

    async def review_history(self, run_id: str, gate: Gate) -> list[PreviousReview]:
        """Return the reviews of this gate so far, oldest first, with the comment on each."""


@dataclass(frozen=True)
class Dependencies:
    """Everything that a node uses from outside.

    `project` resolves a project by name and options; `publisher` is the name of the service and account that posts,
    and `publishers` are those of the projects that name one, by project. `read_mark` reads the C2PA manifest of the
    stored film with a digest; without it no mark is checked.
    """

    project: Callable[[str, dict[str, int]], Project]
    model: BaseChatModel
    moderation: Moderation | Moderator
    video: VideoModels
    ledger: Ledger
    records: RunRecords
    publisher: str = ""
    publishers: Mapping[str, str] = field(default_factory=dict)
    read_mark: Callable[[str], Awaitable[Provenance | None]] | None = None
    #: The offer of the speech server, without a voice.
    speech: SpeechOffer | None = None

    def publisher_of(self, project: str) -> str:
        """Return the name of the service and account that posts the films of a project."""
        return self.publishers.get(project, self.publisher)
