"""In-memory implementations of `graph.dependencies`, and a run of the graph on them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
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

from agents.roles import PreviousReview
from graph.decisions import Gate, RecordedDecision
from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from graph.nodes.orders import StepFailed
from graph.review_content import Review
from graph.state import Route, RunState
from prompts.project import Project, VideoChoice
from providers.base import ProviderError, Unavailable
from providers.moderation import ModerationResult, Moderator
from providers.orders import ModelAnswer, Order, OrderKey, OrderStatus, RetryOptions, digest_of
from providers.video_models import VideoOffer
from providers.video_profiles import load_profiles

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


def requested(step: str, *clips: int, overlay: str = "", reason: str = "", text: str = "This") -> dict[str, Any]:
    """Return a requested change as a model reads it from a comment."""
    return {"text": text, "step": step, "clips": list(clips), "overlay": overlay, "reason": reason}


ANSWERS: dict[str, dict[str, Any]] = {
    "Screening": {"fits": True, "reason": ""},
    "Ideas": {"title": "Rain", "ideas": [idea("Leaf"), idea("Roof"), idea("Sea")]},
    "Caption": {"caption": "Rain.", "hashtags": ["#rain"]},
    "Shot": {"prompt": "A leaf in gentle rain."},
    "RequestedChanges": {"changes": [requested("ideas")]},
}


class QueuedModel(BaseChatModel):
    """Answers each schema with the next answer queued for it, or a default one; keeps the requests."""

    queued: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)
    requests: list[tuple[str, str]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "queued"

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        schema = options["response_format"]["json_schema"]["name"]
        self.requests.append((schema, str(messages[-1].content)))
        queue = self.queued.get(schema, [])
        answer = queue.pop(0) if queue else ANSWERS[schema]
        message = AIMessage(
            json.dumps(answer),
            response_metadata={"finish_reason": "stop"},
            usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        return self._generate(messages, **options)


class FakeLedger:
    """Keeps every order; a test settles and fails them."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.recorded: dict[str, OrderStatus] = {}
        self.answers: dict[OrderKey, dict[str, Any]] = {}
        self.reserved: list[list[str]] = []
        self.known: dict[str, Order] = {}
        self.created: dict[str, datetime] = {}
        #: Whether every order is already recorded, as after a crash.
        self.is_everything_recorded = False

    async def reserve(self, orders: Sequence[Order]) -> None:
        self.reserved.append([str(order.key) for order in orders])
        self.known.update({str(order.key): order for order in orders})

    async def place(self, key: str) -> None:
        if key not in self.orders:
            self.orders[key] = self.known[key]
            self._record(key, "submitted", {})

    async def place_once(self, order: Order) -> None:
        self.known[str(order.key)] = order
        await self.place(str(order.key))

    async def cached_answer(self, key: OrderKey, request: Callable[[], Awaitable[ModelAnswer[Any]]]) -> dict[str, Any]:
        if key not in self.answers:
            self.answers[key] = (await request()).value.model_dump(mode="json")
        return self.answers[key]

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        if self.is_everything_recorded:
            created = datetime.now(UTC)
            return {
                key: self.recorded.get(key, OrderStatus(key, "clip", "reserved", Decimal(0), created)) for key in keys
            }
        return {key: self.recorded[key] for key in keys if key in self.recorded}

    def settle(self, key: str, **facts: Any) -> None:
        self._record(key, "settled", {"digest": digest_of(key), "seconds": 4.0, **facts})

    def mark_unknown(self, key: str, **facts: Any) -> None:
        self._record(key, "unknown", facts)

    def fail(
        self, key: str, state: str = "failed", code: str = "generation_failed", *, charged: bool = False, **facts: Any
    ) -> None:
        result = {"code": code, "message": "It went wrong.", **({"charged": True} if charged else {}), **facts}
        self._record(key, state, result if state == "failed" else {})

    def settle_except(self, clip: int, **failure: Any) -> None:
        """Settle the open orders of all clips except this one, which fails."""
        for key in self.open_keys():
            if self.orders[key].key.number == clip:
                self.fail(key, **failure)
            else:
                self.settle(key)

    def _record(self, key: str, state: Any, result: dict[str, Any]) -> None:
        order = self.orders[key]
        at = datetime.now(UTC) if state in ("settled", "failed") else None
        created = self.created.setdefault(key, datetime.now(UTC))
        self.recorded[key] = OrderStatus(
            key, order.kind, state, order.amount_usd, created, f"task of {key}", result, at, order.request
        )

    def orders_of(self, kind: str) -> list[Order]:
        return [order for order in self.orders.values() if order.kind == kind]

    def open_keys(self) -> list[str]:
        return [key for key, status in self.recorded.items() if not status.is_terminal]


@dataclass
class FakeRunRecords:
    """Records of one run, and the requests of people, set by a test.

    As Studio does, it records decisions if `next_number` is set; as the product, it refuses.
    """

    seed: RunState = field(default_factory=RunState)
    next_number: int | None = None
    loaded: list[tuple[str, str, str]] = field(default_factory=list)
    decisions: list[tuple[str, Review, RecordedDecision]] = field(default_factory=list)
    retried_at: datetime | None = None
    options: RetryOptions = field(default_factory=lambda: RetryOptions(prompts={}, drop=[]))
    history: list[PreviousReview] = field(default_factory=list)

    async def load(self, run_id: str, project: str, brief: str) -> RunState:
        self.loaded.append((run_id, project, brief))
        return {"run_id": run_id, "options": {}, **self.seed}

    async def record_decision(self, run_id: str, review: Review, decision: RecordedDecision) -> int:
        if self.next_number is None:
            raise StepFailed("decision_not_recorded", "The decision was not recorded.")
        self.decisions.append((run_id, review, decision))
        self.next_number += 1
        return self.next_number - 1

    def request_retry(self, **options: Any) -> None:
        self.retried_at = datetime.now(UTC)
        self.options = RetryOptions(**{"prompts": {}, "drop": [], **options})

    async def is_approved_unsigned(self, decision: int) -> bool:
        return False

    async def retry_requested_since(self, run_id: str, since: datetime) -> RetryOptions | None:
        return self.options if self.retried_at is not None and self.retried_at > since else None

    async def review_history(self, run_id: str, gate: Gate) -> list[PreviousReview]:
        return self.history


@dataclass
class FakeModeration:
    """Flags every text that contains one of these words."""

    words: tuple[str, ...] = ()
    unavailable: bool = False
    checked: list[str] = field(default_factory=list)

    async def check(self, texts: list[str]) -> ModerationResult:
        if self.unavailable:
            raise Unavailable("moderation_unavailable", "The moderation service did not answer.")
        self.checked += texts
        flagged = any(word in text for word in self.words for text in texts)
        return ModerationResult(flagged, ["violence"] if flagged else [])


@dataclass
class FakeVideo:
    """A video model with one price per second."""

    model: str = "video-1"
    usd_per_second: Decimal = Decimal("0.10")
    #: The lengths it generates, in seconds.
    lengths: tuple[int, ...] = tuple(range(1, 13))

    #: The providers, the preferred one first.
    providers: list[str] = field(default_factory=lambda: [""])
    sound: bool | None = None
    #: The price that the provider quotes for a clip, if it quotes one.
    quoted_usd: Decimal | None = None
    #: The URLs for webhooks, by provider.
    callbacks: dict[str, str] = field(default_factory=dict)

    def offer(self, seconds: int, size: str, *choices: VideoChoice | None) -> VideoOffer:
        if seconds not in self.lengths:
            raise ProviderError("clip_impossible", f"A clip cannot be {seconds} s long.")
        chosen = [choice.provider for choice in choices if choice and choice.provider in self.providers]
        provider = next((name for name in chosen if name), self.providers[0])
        return VideoOffer(provider, self.model, seconds, size, self.sound, self.usd_per_second * seconds)

    async def with_quote(self, offer: VideoOffer) -> VideoOffer:
        return replace(offer, usd_per_clip=self.quoted_usd, price_source="quote") if self.quoted_usd else offer

    def is_moderation(self, code: str, message: str) -> bool:
        return load_profiles()[-1].is_moderation(code, message)


class RunHarness:
    """One run of the graph. Each method that continues it returns what it then waits for, or {} at its end."""

    def __init__(
        self, project: Project = PROJECT, *, fork: RunState | None = None, **queued: list[dict[str, Any]]
    ) -> None:
        self.id, self.project = str(uuid4()), project
        self.model = QueuedModel(queued=queued)
        self.ledger = FakeLedger()
        self.records = FakeRunRecords(fork or RunState())
        self.moderation = FakeModeration()
        self.video = FakeVideo()
        deps = Dependencies(
            project=lambda name, options: self.project.with_options(options),
            model=self.model,
            moderation=self.moderation,
            video=self.video,
            ledger=self.ledger,
            records=self.records,
            publisher="upload_post:first",
        )
        self.deps, self.saver = deps, InMemorySaver()
        self.graph = build_run_graph(deps).compile(checkpointer=self.saver)
        #: The routes that the nodes wrote, in order.
        self.routes: list[tuple[str, Route]] = []
        self.config: Any = {"configurable": {"thread_id": self.id}, "recursion_limit": 60}

    def use_publisher(self, name: str) -> None:
        """Continue with other settings, which name this publisher."""
        self.graph = build_run_graph(replace(self.deps, publisher=name)).compile(checkpointer=self.saver)

    def moderate_by(self, moderator: Moderator) -> None:
        """Continue with other settings, in which the language model or nobody moderates."""
        self.graph = build_run_graph(replace(self.deps, moderation=moderator)).compile(checkpointer=self.saver)

    async def start(self, brief: str = "Rain on a roof") -> dict[str, Any]:
        return await self.resume({"project": "trio", "brief": brief})

    async def resume(self, step: Any = None) -> dict[str, Any]:
        """Continue from the checkpoint, or with this input."""
        async for updates in self.graph.astream(step, self.config, stream_mode="updates"):
            for node, update in updates.items():
                if node != "__interrupt__" and "route" in (update or {}):
                    self.routes.append((node, update["route"]))
        return await self.pending()

    async def interrupts(self) -> tuple[Interrupt, ...]:
        return (await self.graph.aget_state(self.config)).interrupts

    async def pending(self) -> dict[str, Any]:
        interrupts = await self.interrupts()
        return interrupts[0].value if interrupts else {}

    async def answer(self, value: Any) -> dict[str, Any]:
        """Answer the pending interrupt."""
        return await self.resume(Command(resume={(await self.interrupts())[0].id: value}))

    async def state(self) -> RunState:
        return (await self.graph.aget_state(self.config)).values  # type: ignore[return-value]  # a dict of its channels

    async def next_nodes(self) -> tuple[str, ...]:
        return (await self.graph.aget_state(self.config)).next

    async def settle_orders(self) -> dict[str, Any]:
        """Settle all open orders and continue."""
        pending = await self.pending()
        for key in self.ledger.open_keys():
            self.ledger.settle(key)
        return await self.answer({"over": pending["orders"]})

    async def run_to_publish_gate(self) -> dict[str, Any]:
        await self.start()
        await self.answer({"verdict": "approve", "number": 1})
        await self.settle_orders()
        return await self.settle_orders()
