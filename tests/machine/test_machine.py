"""Whatever people, providers and power cuts do, a run keeps its promises."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from graph.decisions import verdict_of
from providers.base import Json
from runs.advance import advance
from runs.cancel import cancel_run
from runs.decide import decide
from runs.errors import GateNotOpen, NotRetryable, OutcomeUnknown, RunEnded
from runs.queries import get_run_view
from runs.reconcile import reconcile_order
from runs.retry import retry_run
from runs.services import Services
from runs.webhook_events import record_video_webhook
from storage import failpoints
from tests.chaos.invariants import FORKS
from tests.databases import database_url, fast_folder, migrated_template, postgres_server
from tests.graph.fakes import PROJECT
from tests.ledger.fake_provider import FakeProvider, FakeProviders, ProcessKilled, new_run, opened

__all__ = ["database_url", "migrated_template", "postgres_server"]

KINDS = ("clip", "render", "publication")
MOODS = ("closed", "refuses", "silent", "sells_and_is_silent", "sells_twice", "away") + 3 * ("sells_and_power_fails",)
POINTS = [
    f"{what}.{when}"
    for what in ("submit", "find", "look", "answer", "commit", "checkpoint", "writes")
    for when in ("before", "after")
] + ["submit.after"] * 5


@dataclass
class Counted(FakeProvider):
    """Remembers every call that may have been a sale, by its key."""

    tried: Counter[str] = field(default_factory=Counter)

    async def submit(self, request: Json, *, key: str) -> str:
        closed = bool(self.behaviours) and self.behaviours[0] == "closed"
        self.tried[key] += not closed
        return await super().submit(request, key=key)


class Run(RuleBasedStateMachine):
    """One run, two processes, and a model of what may be true of it."""

    dsn: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="myloware-machine-", dir=fast_folder())
        self.fake_providers = FakeProviders(Counted("clips"), Counted("renders"), Counted("publisher", made=b""))
        self.open: list[Any] = []
        self.processes: list[Services] = []
        # The model: what was decided at which gate, whether somebody cancelled, and how it ended.
        self.verdicts: list[tuple[str, str]] = []
        self.cancelled_at: int | None = None
        self.ended: str | None = None
        self.told = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.start_processes()
        self.run = self.do(new_run(self.processes[0].db))

    def start_processes(self) -> None:
        async def start() -> None:
            for _ in range(2):
                parts = opened(self.dsn, self.fake_providers, Path(self.folder.name), project=PROJECT)
                self.processes.append(await parts.__aenter__())
                self.open.append(parts)

        self.do(start())

    def stop_processes(self) -> None:
        async def stop() -> None:
            for parts in self.open:
                await parts.__aexit__(None, None, None)

        failpoints.hook = None
        self.do(stop())
        self.open, self.processes = [], []

    def survive(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do this; if the power fails meanwhile, start anew."""
        try:
            self.do(work)
        except ProcessKilled:
            note("the power failed")
            self.stop_processes()
            self.start_processes()

    @property
    def here(self) -> Services:
        return self.processes[0]

    def seen(self) -> dict[str, Any]:
        content: dict[str, Any] = self.do(get_run_view(self.here, UUID(self.run)))
        return content

    def orders(self) -> list[Any]:
        orders: list[Any] = self.do(self.here.ledger.list_for_run(self.run))
        return orders

    # ---- what happens ----------------------------------------------------------------------------------------------

    @rule()
    def drive(self) -> None:
        self.survive(advance(self.here, self.run))

    @rule()
    def two_drive_at_once(self) -> None:
        async def both() -> None:
            await asyncio.gather(*(advance(each, self.run) for each in self.processes))

        self.survive(both())

    @rule()
    def look_after_everything(self) -> None:
        for order in self.orders():
            if order["kind"] != "model" and order["settled_at"] is None:
                self.survive(reconcile_order(self.processes[-1], order["key"]))

    @rule(data=st.data(), well=st.booleans())
    def finish_a_job(self, data: st.DataObject, well: bool) -> None:
        sales = [(shop, sale) for shop in self.all_shops() for sale in shop.sales if sale.task_id not in shop.fates]
        if sales:
            shop, sale = data.draw(st.sampled_from(sales), label="job")
            (shop.deliver if well else shop.break_)(sale.task_id)

    @rule(data=st.data())
    def be_told_of_a_clip_twice(self, data: st.DataObject) -> None:
        if self.fake_providers.clip.sales:
            sale = data.draw(st.sampled_from(self.fake_providers.clip.sales), label="clip")
            self.told += 1
            name = f"{self.run}:{self.told}"

            async def tell() -> list[bool]:
                about = {"task_id": sale.task_id, "kind": "video.failed", "event_id": None, "run_id": None}
                return await asyncio.gather(*(record_video_webhook(each, name, **about) for each in self.processes * 2))

            assert sorted(self.do(tell())) == [False, False, False, True]

    @rule(kind=st.sampled_from(KINDS), behaviour=st.sampled_from(MOODS))
    def a_shop_is_in_a_mood(self, kind: str, behaviour: str) -> None:
        shop = self.fake_providers.all()[kind]
        shop.away = behaviour == "away" and not shop.away
        # Nobody sells a film twice: who publishes knows the id that is sent.
        shop.behaviours = [behaviour] if behaviour != "away" and (behaviour != "sells_twice" or kind == "clip") else []

    @rule(point=st.sampled_from(POINTS), after=st.integers(0, 2))
    def the_power_fails(self, point: str, after: int) -> None:
        """Somewhere while the run is driven and its orders are looked after."""
        left = after

        def cut(reached: str) -> None:
            nonlocal left
            if reached == point:
                left -= 1
                if left < 0:
                    raise ProcessKilled

        failpoints.hook = cut
        self.drive()
        self.look_after_everything()
        failpoints.hook = None

    @rule()
    def a_good_day(self) -> None:
        """Everything is delivered, and the run goes on."""
        self.deliver_everything()
        self.look_after_everything()
        self.drive()

    def deliver_everything(self) -> None:
        for shop in self.all_shops():
            for sale in shop.sales:
                shop.deliver(sale.task_id)

    # ---- what people do --------------------------------------------------------------------------------------------

    @rule()
    def say_yes(self) -> None:
        """To whatever is asked."""
        if review := self.seen()["review"]:
            self.answer_a_gate(review["gate"], "approve")

    @rule(gate=st.sampled_from(["ideation", "publish"]), verdict=st.sampled_from(["approve", "revise"]))
    def answer_a_gate(self, gate: str, verdict: str) -> None:
        """Two people at once, in two processes: one is heard, and only at the gate that is open."""
        content = self.seen()
        is_open = content["review"] and content["review"]["gate"] == gate

        async def click(services: Services) -> str:
            try:
                said = {"approve": None, "revise": "Warmer light, please.", "reject": None}[verdict]
                await decide(
                    services,
                    UUID(self.run),
                    gate,  # type: ignore[arg-type]
                    verdict=verdict_of(verdict == "approve", said),
                    comment=said,
                    decided_by="local",
                    channel="cli",
                )
            except GateNotOpen:
                return "closed"
            return "heard"

        async def both() -> list[str]:
            return await asyncio.gather(*(click(each) for each in self.processes))

        with light():
            heard = Counter(self.do(both()))
        assert heard == (Counter(heard=1, closed=1) if is_open else Counter(closed=2))
        if is_open:
            self.verdicts.append((gate, verdict))

    @rule()
    def press_retry(self) -> None:
        """After a look at the shops: not made is said only of what was not made."""
        content = self.seen()
        unknown = [order for order in self.orders() if order["state"] == "unknown"]
        made = {sale.key for shop in self.all_shops() for sale in shop.sales}
        truly_lost = bool(unknown) and not any(order["key"] in made for order in unknown)
        may = content["status"] == "failed" and content["error"]["retryable"]
        try:
            with light():
                self.do(
                    retry_run(
                        self.here,
                        UUID(self.run),
                        not_made=truly_lost,
                        by="anna",
                        channel="api",
                        external_id=f"{self.run}:{len(self.verdicts)}:{self.told}:{id(content)}",
                    )
                )
        except NotRetryable:
            assert not may
        except OutcomeUnknown:
            assert unknown
        else:
            assert may

    @precondition(lambda self: len(self.verdicts) > 1)
    @rule()
    def press_cancel(self) -> None:
        over = self.seen()["status"] in ("completed", "failed")
        try:
            with light():
                self.do(cancel_run(self.here, UUID(self.run), by="anna", channel="api", external_id=f"c:{self.run}"))
        except RunEnded:
            assert over
        else:
            assert not over
            self.cancelled_at = self.sold()

    # ---- what must be true -----------------------------------------------------------------------------------------

    def all_shops(self) -> list[Any]:
        return list(self.fake_providers.all().values())

    def sold(self) -> int:
        return sum(len(shop.sales) for shop in self.all_shops())

    @invariant()
    def nothing_is_ordered_twice(self) -> None:
        for shop in self.all_shops():
            assert all(n <= 1 for n in shop.tried.values()), shop.tried

    @invariant()
    def nothing_is_made_without_a_yes(self) -> None:
        yes = {gate for gate, verdict in self.verdicts if verdict == "approve"}
        assert not self.fake_providers.clip.sales or "ideation" in yes
        assert not self.fake_providers.publication.sales or "publish" in yes

    @invariant()
    def nothing_is_posted_again_unless_it_failed(self) -> None:
        shop = self.fake_providers.publication
        failed = [sale for sale in shop.sales if type(shop.fates.get(sale.task_id)).__name__ == "Failed"]
        assert len(shop.sales) - len(failed) <= 1

    @invariant()
    def nothing_is_made_after_a_cancel(self) -> None:
        assert self.cancelled_at is None or self.sold() == self.cancelled_at

    @invariant()
    def what_is_shown_is_possible(self) -> None:
        if not self.processes:
            return
        content = self.seen()
        gate = content["review"] and content["review"]["gate"]
        expected = {"ideation": "awaiting_ideation_approval", "publish": "awaiting_publish_approval"}
        assert (gate is None) == (content["status"] not in expected.values())
        assert gate is None or content["status"] == expected[gate]
        if self.cancelled_at is not None:
            assert (content["status"], content["error"]["code"]) == ("failed", "cancelled")
        if self.ended:
            assert content["status"] == self.ended
        if content["status"] == "completed":
            self.ended = "completed"
            assert ("publish", "approve") in self.verdicts
            assert len(self.fake_providers.publication.sales) >= 1
        if content["status"] == "failed":
            assert content["error"]["message"]
        cost = content["cost"]
        assert cost["reserved_usd"] + cost["spent_usd"] <= cost["cap_usd"]

    @invariant()
    def decisions_are_those_of_the_people(self) -> None:
        if self.processes:
            rows = self.do(
                self.here.db.fetch_all(
                    "select gate, verdict from decisions where run_id = %s order by number", (self.run,)
                )
            )
            assert [(row["gate"], row["verdict"]) for row in rows] == self.verdicts

    def teardown(self) -> None:
        """Nothing is ever stuck: once everybody has come back and answered, it ends, with one history."""
        try:
            if self.processes:
                failpoints.hook = None
                self.stop_processes()
                self.start_processes()
                self.end()
        finally:
            failpoints.hook = None
            self.stop_processes()
            self.runner.close()
            self.folder.cleanup()

    def end(self) -> None:
        for shop in self.all_shops():
            shop.behaviours, shop.away = [], False
        for _ in range(40):
            content = self.seen()
            if content["status"] == "completed" or (content["error"] and not content["error"]["retryable"]):
                break
            self.say_yes()
            if content["status"] == "failed":
                self.press_retry()
            self.drive()
            self.a_good_day()
        for check in (
            self.nothing_is_ordered_twice,
            self.nothing_is_made_without_a_yes,
            self.nothing_is_posted_again_unless_it_failed,
            self.nothing_is_made_after_a_cancel,
            self.what_is_shown_is_possible,
            self.decisions_are_those_of_the_people,
        ):
            check()
        content = self.seen()
        assert content["status"] == "completed" or self.cancelled_at is not None, content
        forks = self.do(self.here.db.fetch_all(f"select * from ({FORKS}) as forks where thread_id = '{self.run}'"))  # type: ignore[arg-type]
        assert forks == []


@contextmanager
def light() -> Iterator[None]:
    """The power does not fail while this is done."""
    hook, failpoints.hook = failpoints.hook, None
    try:
        yield
    finally:
        failpoints.hook = hook


QUICK = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(180)
def test_machine(database_url: str) -> None:
    """No reachable state contradicts the model."""
    Run.dsn = database_url
    run_state_machine_as_test(Run, settings=QUICK)
