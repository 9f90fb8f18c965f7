"""Small stand-ins behind `graph.ports`, and a line that runs on them in memory."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Interrupt
from pydantic import Field

from agents.ideator import PreviousReview
from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from graph.state import Gate, RunState
from prompts.project import Project
from providers.base import ProviderError, Unavailable
from providers.moderation import Verdict
from providers.orders import ModelAnswer, Order, OrderStatus, RetryOptions, digest_of

PROJECT = Project(
    name="trio",
    title="Trio",
    summary="Three clips.",
    clips=3,
    clip_seconds=4,
    clip_size="720x1280",
    budget_usd=Decimal(5),
    direction="Calm.",
)


def idea(name: str) -> dict[str, str]:
    return {"title": name, "scene": f"{name} in the rain.", "sound": "Rain.", "overlay": name}


ANSWERS: dict[str, dict[str, Any]] = {
    "Screening": {"fits": True, "reason": ""},
    "Ideas": {"title": "Rain", "ideas": [idea("Leaf"), idea("Roof"), idea("Sea")]},
    "Caption": {"caption": "Rain.", "hashtags": ["#rain"]},
    "Shot": {"prompt": "A leaf in gentle rain."},
    "Route": {"step": "ideas", "clips": [], "instruction": ""},
}


class QueuedModel(BaseChatModel):
    """Answers each form with the next answer queued for it, or the usual one; keeps what it was asked."""

    queued: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)
    asked: list[tuple[str, str]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "queued"

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        form = options["response_format"]["json_schema"]["name"]
        self.asked.append((form, str(messages[-1].content)))
        queue = self.queued.get(form, [])
        answer = queue.pop(0) if queue else ANSWERS[form]
        message = AIMessage(
            json.dumps(answer),
            response_metadata={"finish_reason": "stop"},
            usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        return self._generate(messages, **options)


class FakeLedger:
    """Keeps every order; what comes of one is said by `settle` and `fail`."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.stands: dict[str, OrderStatus] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.reserved: list[list[str]] = []
        #: Whether whatever is asked for stands here already, from before a crash.
        self.written_down = False

    async def reserve(self, orders: Sequence[Order]) -> None:
        self.reserved.append([order.key for order in orders])

    async def place_once(self, order: Order) -> None:
        if order.key in self.orders:
            return
        self.orders[order.key] = order
        self._stand(order.key, "submitted", {})

    async def cached_answer(
        self, key: str, run_id: str, ask: Callable[[], Awaitable[ModelAnswer[Any]]]
    ) -> dict[str, Any]:
        if key not in self.answers:
            self.answers[key] = (await ask()).value.model_dump(mode="json")
        return self.answers[key]

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        if self.written_down:
            return {key: self.stands.get(key, OrderStatus(key, "clip", "reserved", Decimal(0))) for key in keys}
        return {key: self.stands[key] for key in keys if key in self.stands}

    def settle(self, key: str) -> None:
        self._stand(key, "settled", {"digest": digest_of(key), "seconds": 4.0})

    def fail(self, key: str, state: str = "failed", code: str = "odd_luck", *, charged: bool = False) -> None:
        said = {"code": code, "message": "It went wrong.", **({"charged": True} if charged else {})}
        self._stand(key, state, said if state == "failed" else {})

    def _stand(self, key: str, state: Any, result: dict[str, Any]) -> None:
        order = self.orders[key]
        at = datetime.now(UTC) if state in ("settled", "failed") else None
        self.stands[key] = OrderStatus(key, order.kind, state, order.amount_usd, f"task of {key}", result, at)

    def of(self, kind: str) -> list[Order]:
        return [order for order in self.orders.values() if order.kind == kind]

    def open(self) -> list[str]:
        return [key for key, standing in self.stands.items() if not standing.is_terminal]


@dataclass
class FakeRunFeedback:
    """The inbox, kept by hand."""

    retried_at: datetime | None = None
    wanted: RetryOptions = field(default_factory=lambda: RetryOptions(prompts={}, drop=[]))
    earlier: list[PreviousReview] = field(default_factory=list)

    def retry(self, **wanted: Any) -> None:
        """A person asks for another try."""
        self.retried_at = datetime.now(UTC)
        self.wanted = RetryOptions(**{"prompts": {}, "drop": [], **wanted})

    async def retry_requested_since(self, run_id: str, since: datetime) -> bool:
        return self.retried_at is not None and self.retried_at > since

    async def retry_options(self, run_id: str) -> RetryOptions:
        return self.wanted

    async def review_history(self, run_id: str, gate: Gate) -> list[PreviousReview]:
        return self.earlier


@dataclass
class FakeModeration:
    """Flags whatever holds one of these words; `away` is unavailable."""

    words: tuple[str, ...] = ()
    away: bool = False
    read: list[str] = field(default_factory=list)

    async def check(self, texts: list[str]) -> Verdict:
        if self.away:
            raise Unavailable("moderation_unavailable", "The moderation did not answer.")
        self.read += texts
        found = any(word in text for word in self.words for text in texts)
        return Verdict(found, ["violence"] if found else [])


@dataclass
class FakeVideo:
    model: str = "video-1"
    usd_per_second: Decimal = Decimal("0.10")
    #: The lengths that can be had, in seconds.
    makes: tuple[int, ...] = tuple(range(1, 13))

    def price(self, seconds: int, size: str) -> Decimal:
        if seconds not in self.makes:
            raise ProviderError("clip_impossible", f"A clip cannot be {seconds} s long.")
        return self.usd_per_second * seconds


class RunHarness:
    """One run of the line: `go` starts or continues it, and it stands at `question` or at its end."""

    def __init__(self, project: Project = PROJECT, **queued: list[dict[str, Any]]) -> None:
        self.id, self.project = str(uuid4()), project
        self.model = QueuedModel(queued=queued)
        self.ledger, self.inbox, self.censor, self.video = (
            FakeLedger(),
            FakeRunFeedback(),
            FakeModeration(),
            FakeVideo(),
        )
        deps = Dependencies(
            project=lambda name, options: self.project.with_options(options),
            model=self.model,
            moderation=self.censor,
            video=self.video,
            ledger=self.ledger,
            feedback=self.inbox,
        )
        self.graph = build_run_graph(deps).compile(checkpointer=InMemorySaver())
        self.config: Any = {"configurable": {"thread_id": self.id}, "recursion_limit": 60}

    async def begin(self, brief: str = "Rain on a roof") -> dict[str, Any]:
        facts = {"id": self.id, "project": "trio", "brief": brief, "options": {}}
        return await self.go({"run": facts})

    async def go(self, step: Any = None) -> dict[str, Any]:
        """Run until it stops; what it asks, or nothing at its end."""
        await self.graph.ainvoke(step, self.config)
        return await self.question()

    async def interrupts(self) -> tuple[Interrupt, ...]:
        return (await self.graph.aget_state(self.config)).interrupts

    async def question(self) -> dict[str, Any]:
        asked = await self.interrupts()
        return asked[0].value if asked else {}

    async def answer(self, said: Any) -> dict[str, Any]:
        """Resume with this answer."""
        return await self.go(Command(resume={(await self.interrupts())[0].id: said}))

    async def state(self) -> RunState:
        return (await self.graph.aget_state(self.config)).values  # type: ignore[return-value]

    async def next(self) -> tuple[str, ...]:
        return (await self.graph.aget_state(self.config)).next

    async def delivered(self) -> dict[str, Any]:
        """Everything under way is settled, and the line goes on."""
        question = await self.question()
        for key in self.ledger.open():
            self.ledger.settle(key)
        return await self.answer({"over": question["orders"]})

    async def at_publish_gate(self) -> dict[str, Any]:
        """A fresh run, brought to the publish gate."""
        await self.begin()
        await self.answer({"verdict": "approve", "number": 1})
        await self.delivered()
        return await self.delivered()
