"""A shop that counts what it sells, and a production around it on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from graph.dependencies import Dependencies
from graph.graph import build_run_graph
from prompts.project import Project
from providers.base import (
    Failed,
    Json,
    NotSent,
    OutcomeUnknown,
    Pending,
    PollResult,
    Progress,
    Refused,
    Succeeded,
    Unavailable,
)
from providers.orders import Approval, Order, OrderKind, digest_of
from runs.run_feedback import RunFeedback
from runs.services import Services
from storage import decisions, failpoints, runs
from storage.admission import Caps
from storage.artifacts import Artifacts
from storage.database import Database, open_pool
from storage.decisions import DecisionRow, NewDecision
from storage.ledger import Ledger
from storage.locks import Locks
from storage.saver import Saver
from tests.graph.fakes import PROJECT, FakeModeration, FakeVideo, QueuedModel

GENEROUS_CAPS = Caps(day_usd=Decimal(1000))


class ProcessKilled(BaseException):
    """The process is gone, here and now."""


@dataclass
class Charge:
    """Something that was sold, and so is charged for."""

    task_id: str
    key: str
    request: dict[str, Any]


@dataclass
class FakeProvider:
    """Sells one kind of thing, remembers every sale, and has moods: what happens at its next calls, in order."""

    name: str = "shop"
    lookup_window: timedelta = timedelta(0)
    behaviours: list[str] = field(default_factory=list)
    sales: list[Charge] = field(default_factory=list)
    calls: int = 0
    away: bool = False
    #: What has become of a task, by its id; nothing yet if absent.
    fates: dict[str, PollResult] = field(default_factory=dict)
    #: Sales that nobody can find yet.
    hidden: set[str] = field(default_factory=set)
    #: What a finished task is made of.
    made: bytes = b"film"

    async def submit(self, request: Json, *, key: str) -> str:
        self.calls += 1
        behaviour = self.behaviours.pop(0) if self.behaviours else "good"
        if behaviour == "closed":
            raise NotSent("shop_closed", "The shop is closed.")
        if behaviour == "refuses":
            raise Refused("shop_refuses", "The shop does not sell that.")
        if behaviour == "silent":  # it did not arrive, and nobody knows
            raise OutcomeUnknown("no_answer", "The shop did not answer.")
        sale = self.sell(request, key)
        if behaviour == "sells_twice":
            self.sell(request, key)
        if behaviour in ("sells_and_is_silent", "sells_twice"):
            raise OutcomeUnknown("no_answer", "The shop did not answer.")
        if behaviour == "sells_and_power_fails":
            raise ProcessKilled
        return sale.task_id

    def sell(self, request: Json, key: str) -> Charge:
        """Sell it, whoever asked."""
        self.sales.append(Charge(f"{self.name}-{uuid4()}", key, dict(request)))
        return self.sales[-1]

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        if self.away:
            raise Unavailable("shop_away", "The shop does not answer.")
        alike = [sale.task_id for sale in self.sales if (sale.key, sale.request) == (key, dict(request))]
        return [task_id for task_id in alike if task_id not in self.hidden]

    def lookup_url(self, request: Json, *, key: str) -> str:
        return f"the counter of the {self.name}"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        if self.away:
            raise Unavailable("shop_away", "The shop does not answer.")
        fate = self.fates.get(task_id, Pending())
        if isinstance(fate, Succeeded) and self.made:
            file = into / "made.mp4"
            file.write_bytes(self.made + task_id.encode())
            return replace(fate, file=file)
        return fate

    def deliver(self, task_id: str) -> None:
        """It is made."""
        self.fates.setdefault(
            task_id, Succeeded(facts={"seconds": 3.0, "platforms": {}} if not self.made else {"seconds": 3.0})
        )

    def break_(self, task_id: str) -> None:
        """It cannot be made."""
        self.fates.setdefault(task_id, Failed("shop_failed", "It broke."))


@dataclass
class RecordedWakeups:
    """Keeps the wake-ups."""

    runs: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)

    def advance(self, run_id: str) -> None:
        self.runs.append(run_id)

    def reconcile(self, order: str) -> None:
        self.orders.append(order)


@dataclass
class FakeProviders:
    """Everybody who sells."""

    clip: FakeProvider = field(default_factory=lambda: FakeProvider("clips"))
    render: FakeProvider = field(default_factory=lambda: FakeProvider("renders"))
    publication: FakeProvider = field(default_factory=lambda: FakeProvider("publisher", made=b""))

    def all(self) -> dict[str, Any]:
        return {"clip": self.clip, "render": self.render, "publication": self.publication}


@asynccontextmanager
async def opened(
    dsn: str,
    fake_providers: FakeProviders,
    folder: Path,
    *,
    caps: Caps = GENEROUS_CAPS,
    project: Project = PROJECT,
    model: Any = None,
) -> AsyncIterator[Services]:
    """A production of these shops: enter it twice, and there are two processes."""
    folder.mkdir(parents=True, exist_ok=True)
    async with Locks(dsn) as locks, open_pool(dsn, max_size=8, name=locks.worker_id) as pool:
        db = Database(pool)
        ledger = Ledger(db, fake_providers.all(), caps)
        deps = Dependencies(
            project=lambda name, options: project.with_options(options),
            model=model or QueuedModel(),
            moderation=FakeModeration(),
            video=FakeVideo(),
            ledger=ledger,
            feedback=RunFeedback(db),
        )
        yield Services(
            db=db,
            ledger=ledger,
            locks=locks,
            artifacts=Artifacts(db, folder / "store", folder / "cache"),
            projects={project.name: project},
            video=cast("Any", NoModeration()),
            run_graph=build_run_graph(deps),
            new_saver=lambda: Saver(pool),
            wakeups=RecordedWakeups(),
            scratch=folder / "scratch",
        )


class NoModeration(FakeVideo):
    """A maker of clips that makes clips of any length and size."""

    def check(self, seconds: int, size: str) -> None:
        return None


async def new_run(db: Database, *, cap: str = "100", project: str = "trio") -> str:
    """The id of a new run that nobody drives."""
    run_id = uuid4()
    await runs.create_run(
        db,
        run_id,
        project=project,
        brief="Rain",
        options={},
        metadata={},
        cap_usd=Decimal(cap),
        started_by="anna",
        channel="api",
    )
    return str(run_id)


async def approval(
    db: Database, run_id: str, gate: str = "ideation", *, clips: Sequence[int] = (), revision: int = 1
) -> Approval:
    """Somebody's yes to what a gate of the run shows; with `clips`, the wish to have those made again."""
    content = {"ideas": [run_id, gate, revision]}
    digest = digest_of(content)
    review = {"gate": gate, "revision": revision, "digest": digest, "content": content}
    await db.execute("update runs set review = %s, status = 'running' where id = %s", (Jsonb(review), run_id))
    row = await decide(db, run_id, gate, revision, digest, clips)
    return Approval(row["number"], digest, clips[0] if clips else None)


async def decide(
    db: Database, run_id: str, gate: str, revision: int, digest: str, clips: Sequence[int] = ()
) -> DecisionRow:
    """Write the decision down."""
    row = await decisions.record_decision(
        db,
        UUID(run_id),
        NewDecision(
            gate=gate,
            revision=revision,
            verdict="revise" if clips else "approve",
            seen_digest=digest,
            approved_digest=digest,
            comment=None,
            edits=None,
            clips=[{"clip": number, "comment": ""} for number in clips] or None,
            takes=None,
            decided_by="anna",
            channel="api",
        ),
    )
    assert row is not None
    return row


def an_order(
    run_id: str, approved: Approval | None, *, number: int = 1, take: int = 1, usd: str = "1", kind: OrderKind = "clip"
) -> Order:
    """An order with words of its own."""
    key = f"{run_id}:{kind}:{number}:{take}"
    return Order(key, run_id, kind, {"prompt": f"Rain ({key})"}, Decimal(usd), approved)


@asynccontextmanager
async def kill_at(point: str) -> AsyncIterator[None]:
    """Whoever comes by this point is gone."""

    def cut(reached: str) -> None:
        if reached == point:
            raise ProcessKilled

    failpoints.hook = cut
    try:
        yield
    finally:
        failpoints.hook = None


async def state_of(services: Services, key: str) -> str:
    """How an order stands."""
    row = await services.ledger.get(key)
    assert row is not None
    return row["state"]


async def events_of(db: Database, run_id: str, kind: str) -> list[dict[str, Any]]:
    """What the feed of a run tells of one kind."""
    return await db.fetch_all(
        "select subject, payload from events where run_id = %s and kind = %s order by seq", (run_id, kind)
    )
