"""Fake providers that record what they charge for, and services around them on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from agents.roles import with_correlation_tag
from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from prompts.project import Project
from providers.base import Json, NotSent, OutcomeUnknown, Progress, Provider, Refused, Unavailable, Unconfirmed
from providers.orders import Approval, Order, OrderKey, OrderKind, digest_of
from providers.results import Candidate, Failed, Pending, PollResult, Succeeded
from runs.errors import OutcomeUnknown as OutcomeUnknownError
from runs.queue import Queue
from runs.run_records import RunRecords
from runs.run_requests import retry_run
from runs.services import Services
from storage import decisions, failpoints, runs
from storage.actors import Actor, RequestContext
from storage.admission import Caps
from storage.artifacts import Artifacts
from storage.database import Database, open_pool
from storage.decisions import DecisionRow, NewDecision
from storage.ledger import Ledger
from storage.locks import Locks
from storage.saver import Saver
from storage.spending import OF_RUN, Costs
from tests.failpoint_hooks import set_hook
from tests.graph.fakes import PROJECT, FakeModeration, FakeVideo, QueuedModel

GENEROUS_CAPS = Caps(day_usd=Decimal(1000))
ANNA = RequestContext(Actor("api_key", "anna", "Anna", frozenset({"start", "approve"})), "api")


def request(idempotency_key: str) -> RequestContext:
    """A request of Anna with this idempotency key."""
    return replace(ANNA, idempotency_key=idempotency_key)


class ProcessKilled(BaseException):
    """The process is killed at this point."""


@dataclass
class Charge:
    """A task that was created, and so is charged for."""

    task_id: str
    key: str
    request: dict[str, Any]


@dataclass
class FakeProvider(Provider):
    """Takes orders of one kind, and records every charge.

    `behaviours` are those of the next calls of `submit`, in order: "not_sent", "refuse", "no_answer" (the request did
    not arrive), "create_without_answer", "create_twice" (without an answer), "create_then_kill".
    """

    name: str = "provider"
    lookup_window: timedelta = timedelta(0)
    #: With a time, a key that was charged for returns its first task, and the call creates nothing.
    replayable: timedelta | None = None
    #: The requests of all calls of `submit`, with their keys.
    submitted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    behaviours: list[str] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    calls: int = 0
    unavailable: bool = False
    #: The result of a task by its id; a task without one is pending.
    results: dict[str, PollResult | Unconfirmed] = field(default_factory=dict)
    #: Tasks that no lookup finds.
    hidden: set[str] = field(default_factory=set)
    #: Whether the provider lists its tasks without what identifies them.
    lists_candidates: bool = False
    #: The content of the file of a finished task; empty for a task without a file.
    content: bytes = b"film"

    async def submit(self, request: Json, *, key: str) -> str:
        self.calls += 1
        self.submitted.append((key, dict(request)))
        behaviour = self.behaviours.pop(0) if self.behaviours else "create"
        if behaviour == "not_sent":
            raise NotSent("not_sent", "The provider refused the connection.")
        if behaviour == "refuse":
            raise Refused("refused", "The provider refused the order.")
        if behaviour == "no_answer":
            raise OutcomeUnknown("no_answer", "The provider did not answer.")
        known = [charge for charge in self.charges if charge.key == key] if self.replayable else []
        charge = known[0] if known else self.create(request, key)
        if behaviour == "create_twice":
            self.create(request, key)
        if behaviour in ("create_without_answer", "create_twice"):
            raise OutcomeUnknown("no_answer", "The provider did not answer.")
        if behaviour == "create_then_kill":
            raise ProcessKilled
        return charge.task_id

    def create(self, request: Json, key: str) -> Charge:
        """Create a task, and charge for it."""
        self.charges.append(Charge(f"{self.name}-{uuid4()}", key, dict(request)))
        return self.charges[-1]

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        self._check_available()
        found = [charge.task_id for charge in self.charges if (charge.key, charge.request) == (key, dict(request))]
        return [task_id for task_id in found if task_id not in self.hidden]

    async def candidates(self, request: Json, *, since: datetime) -> list[Candidate]:
        self._check_available()
        charges = self.charges if self.lists_candidates else []
        return [Candidate(each.task_id, "queued", since, f"http://clips/{each.task_id}") for each in charges]

    def lookup_url(self, request: Json, *, key: str) -> str:
        return f"the task list of {self.name}"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        self._check_available()
        result = self.results.get(task_id, Pending())
        if isinstance(result, Unconfirmed):
            raise result
        if isinstance(result, Succeeded) and self.content:
            file = into / "made.mp4"
            file.write_bytes(self.content + task_id.encode())
            return replace(result, file=file)
        return result

    def _check_available(self) -> None:
        if self.unavailable:
            raise Unavailable("provider_unavailable", "The provider does not answer.")

    def finish(self, task_id: str) -> None:
        """Let the task succeed, unless it has a result."""
        facts = {"seconds": 3.0} if self.content else {"seconds": 3.0, "platforms": {}}
        self.results.setdefault(task_id, Succeeded(facts=facts))

    def fail(self, task_id: str) -> None:
        """Let the task fail, unless it has a result."""
        self.results.setdefault(task_id, Failed("generation_failed", "It went wrong."))


@dataclass
class RecordedWakeups(Queue):
    """Records the wake-ups."""

    runs: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)

    def advance(self, run_id: str) -> None:
        self.runs.append(run_id)

    def reconcile(self, order_key: str) -> None:
        self.orders.append(order_key)


@dataclass
class FakeProviders:
    """A provider for each kind of order."""

    clip: FakeProvider = field(default_factory=lambda: FakeProvider("clips"))
    render: FakeProvider = field(default_factory=lambda: FakeProvider("renders"))
    publication: FakeProvider = field(default_factory=lambda: FakeProvider("publisher", content=b""))

    def all(self) -> dict[str, Any]:
        return {"clip": self.clip, "render": self.render, "publication": self.publication}

    def lists(self) -> dict[str, list[Any]]:
        return {kind: [provider] for kind, provider in self.all().items()}


@asynccontextmanager
async def open_services(
    dsn: str,
    fake_providers: FakeProviders,
    folder: Path,
    *,
    caps: Caps = GENEROUS_CAPS,
    project: Project = PROJECT,
    model: Any = None,
    usd_of_tokens: Callable[[int, int], Decimal] = lambda _input, _output: Decimal(0),
) -> AsyncIterator[Services]:
    """The services of one process. Entered twice, they are those of two processes."""
    folder.mkdir(parents=True, exist_ok=True)
    async with Locks(dsn) as locks, open_pool(dsn, max_size=8, name=locks.worker_id) as pool:
        db = Database(pool)
        ledger = Ledger(db, caps, usd_of_tokens, fake_providers.lists())
        deps = Dependencies(
            project=lambda name, options: project.with_options(options),
            model=model or QueuedModel(),
            moderation=FakeModeration(),
            video=FakeVideo(),
            ledger=ledger,
            records=RunRecords(db),
        )
        yield Services(
            db=db,
            ledger=ledger,
            locks=locks,
            artifacts=Artifacts(db, folder / "store", folder / "cache"),
            projects={project.name: project},
            offered=[project.name],
            video=cast("Any", AnyVideo()),
            run_graph=build_run_graph(deps).compile(name="run"),
            new_saver=lambda: Saver(pool),
            wakeups=RecordedWakeups(),
            scratch=folder / "scratch",
        )


class AnyVideo(FakeVideo):
    """A video model that generates clips of any length and size."""

    def refusal(self, project: Project) -> None:
        return None


async def new_run(db: Database, *, cap: str = "100", project: str = "trio") -> str:
    """Create a run, and return its id."""
    run_id = uuid4()
    new = runs.NewRun(id=run_id, project=project, brief="Rain", options={}, metadata={}, cap_usd=Decimal(cap))
    await runs.create_run(db, new, ANNA)
    return str(run_id)


async def approval(
    db: Database,
    run_id: str,
    gate: str = "ideation",
    *,
    clips: Sequence[int] = (),
    comment: str | None = None,
    revision: int = 1,
) -> Approval:
    """Record the approval of a review; with `clips` or a comment, a request for changes."""
    content = {"ideas": [run_id, gate, revision]}
    digest = digest_of(content)
    review = {"gate": gate, "revision": revision, "digest": digest, "content": content}
    await db.execute("update runs set review = %s, status = 'running' where id = %s", (Jsonb(review), run_id))
    row = await record_decision(db, run_id, gate, revision, digest, clips, comment=comment)
    return Approval(row.number, digest, clips[0] if clips else None)


async def record_decision(
    db: Database,
    run_id: str,
    gate: str,
    revision: int,
    digest: str,
    clips: Sequence[int] = (),
    *,
    comment: str | None = None,
) -> DecisionRow:
    """Record a decision about the open review."""
    new = NewDecision(
        gate=gate,
        revision=revision,
        verdict="revise" if clips or comment else "approve",
        seen_digest=digest,
        approved_digest=digest,
        comment=comment,
        edits=None,
        clips=[{"clip": number, "comment": ""} for number in clips] or None,
        takes=None,
        sample=None,
    )
    row = await decisions.record_decision(db, UUID(run_id), new, ANNA)
    assert row is not None
    return row


def new_order(
    run_id: str, approved: Approval | None, *, number: int = 1, take: int = 1, usd: str = "1", kind: OrderKind = "clip"
) -> Order:
    """An order with a unique prompt."""
    key = OrderKey(run_id, kind, number, take)
    return Order(key, kind, {"prompt": with_correlation_tag("Rain", key)}, Decimal(usd), approved)


async def retry_not_made(services: Services, run_id: UUID | str, context: RequestContext = ANNA) -> None:
    """Retry a run as a person does who was shown its orders of unknown outcome and declares them not made."""
    with pytest.raises(OutcomeUnknownError) as refused:
        await retry_run(services, UUID(str(run_id)), not_made=True, context=context)
    confirm = refused.value.details["confirm"]
    await retry_run(services, UUID(str(run_id)), not_made=True, confirm=confirm, context=context)


@asynccontextmanager
async def kill_at(point: str) -> AsyncIterator[None]:
    """Kill the process at this failpoint."""

    def kill(current: str) -> None:
        if current == point:
            raise ProcessKilled

    set_hook(kill)
    try:
        yield
    finally:
        failpoints.hook = None


async def state_of(services: Services, key: OrderKey | str) -> str:
    """The state of an order."""
    row = await services.ledger.get(str(key))
    assert row is not None
    return row.state


async def events_of(db: Database, run_id: str, kind: str) -> list[dict[str, Any]]:
    """The events of a run of one kind."""
    return await db.fetch_all(
        "select subject, payload from events where run_id = %s and kind = %s order by seq", (run_id, kind)
    )


async def run_costs(db: Database, run_id: UUID | str) -> Costs:
    """Return the costs of the orders of a run."""
    [row] = await db.fetch_all(f"{OF_RUN} %s", (str(run_id),), row=Costs)
    return row
