"""The invariants of a run hold under every sequence of decisions, provider failures and crashes."""

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
from hypothesis import HealthCheck, Phase, note, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from graph.decisions import DecisionInput, Gate, Verdict
from providers.base import Json, Unavailable
from providers.results import Failed
from providers.webhooks import VideoEvent
from runs.advance import advance
from runs.decide import decide
from runs.errors import GateNotOpen, NotRetryable, OutcomeUnknown, RunEnded
from runs.queries import RunView, get_run_view
from runs.reconcile import reconcile_order
from runs.run_requests import cancel_run, retry_run
from runs.services import Services
from runs.webhook_events import record_video_webhook
from storage import failpoints, troubles
from storage.actors import LOCAL, RequestContext
from storage.orders import OrderRow
from tests.chaos.invariants import FORKS
from tests.databases import fast_folder
from tests.failpoint_hooks import set_hook
from tests.graph.fakes import PROJECT
from tests.ledger.fake_provider import ANNA, Charge, FakeProvider, FakeProviders, ProcessKilled, new_run, open_services

KINDS = ("clip", "render", "publication")
BEHAVIOURS = (
    "not_sent",
    "refuse",
    "no_answer",
    "create_without_answer",
    "create_twice",
    "unavailable",
    *3 * ("create_then_kill",),
)
FAILPOINTS = [
    f"{action}.{when}"
    for action in ("submit", "lookup", "poll", "answer", "commit", "checkpoint", "writes")
    for when in ("before", "after")
] + ["submit.after"] * 5

POSITIONS = st.integers(0, 11)


@dataclass
class CountingProvider(FakeProvider):
    """Counts the calls that may have created a task, by order key."""

    attempts: Counter[str] = field(default_factory=Counter)

    async def submit(self, request: Json, *, key: str) -> str:
        is_sent = not self.behaviours or self.behaviours[0] != "not_sent"
        self.attempts[key] += is_sent
        return await super().submit(request, key=key)


class RunMachine(RuleBasedStateMachine):
    """One run, two processes, and a model of what may be true of the run."""

    dsn: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="myloware-machine-", dir=fast_folder())
        self.fake_providers = FakeProviders(
            CountingProvider("clips"), CountingProvider("renders"), CountingProvider("publisher", content=b"")
        )
        self.open: list[Any] = []
        self.processes: list[Services] = []
        # The model: the decisions by gate, the number of charges at the cancellation, and the final status.
        self.verdicts: list[tuple[Gate, Verdict]] = []
        self.charges_at_cancel: int | None = None
        self.final_status: str | None = None
        self.webhooks = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def create_run(self) -> None:
        self.start_processes()
        self.run = self.do(new_run(self.processes[0].db))

    def start_processes(self) -> None:
        async def start() -> None:
            for _ in range(2):
                process = open_services(self.dsn, self.fake_providers, Path(self.folder.name), project=PROJECT)
                self.processes.append(await process.__aenter__())
                self.open.append(process)

        self.do(start())

    def stop_processes(self) -> None:
        async def stop() -> None:
            for process in self.open:
                await process.__aexit__(None, None, None)

        failpoints.hook = None
        self.do(stop())
        self.open, self.processes = [], []

    def do_or_restart(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do the work; restart the processes if one of them is killed."""
        try:
            self.do(work)
        except ProcessKilled:
            note("killed")
            self.stop_processes()
            self.start_processes()

    @property
    def services(self) -> Services:
        return self.processes[0]

    def view(self) -> RunView:
        view: RunView = self.do(get_run_view(self.services.db, UUID(self.run)))
        return view

    def orders(self) -> list[OrderRow]:
        orders: list[OrderRow] = self.do(self.services.ledger.list_for_run(self.run))
        return orders

    # ---- what happens ----------------------------------------------------------------------------------------------

    @rule()
    def drive(self) -> None:
        self.do_or_restart(advance(self.services, self.run))

    @rule()
    def drive_concurrently(self) -> None:
        async def both() -> None:
            await asyncio.gather(*(advance(each, self.run) for each in self.processes))

        self.do_or_restart(both())

    @rule()
    def reconcile_all_orders(self) -> None:
        for order in self.orders():
            if order.kind != "model" and order.settled_at is None:
                self.do_or_restart(reconcile_order(self.processes[-1], order.key))

    # A position, not an element: the number of tasks depends on the timing of a crash, and what is drawn must not.
    @rule(position=POSITIONS, succeeds=st.booleans())
    def end_a_task(self, position: int, succeeds: bool) -> None:
        pending: list[tuple[FakeProvider, Charge]] = [
            (provider, charge)
            for provider in self.all_providers()
            for charge in provider.charges
            if charge.task_id not in provider.results
        ]
        if pending:
            provider, charge = pending[position % len(pending)]
            (provider.finish if succeeds else provider.fail)(charge.task_id)

    @rule(position=POSITIONS)
    def receive_a_webhook_twice(self, position: int) -> None:
        if charges := self.fake_providers.clip.charges:
            charge = charges[position % len(charges)]
            self.webhooks += 1
            webhook_id = f"{self.run}:{self.webhooks}"

            async def receive() -> list[bool]:
                event, vendor = VideoEvent("video.failed", charge.task_id), self.fake_providers.clip.name
                return await asyncio.gather(
                    *(record_video_webhook(each, "sora", vendor, webhook_id, event) for each in self.processes * 2)
                )

            assert sorted(self.do(receive())) == [False, False, False, True]

    @rule(kind=st.sampled_from(KINDS), behaviour=st.sampled_from(BEHAVIOURS))
    def change_a_provider(self, kind: str, behaviour: str) -> None:
        provider = self.fake_providers.all()[kind]
        provider.unavailable = behaviour == "unavailable" and not provider.unavailable
        # Only clips can be created twice: a publisher knows the id that is sent.
        is_next = behaviour != "unavailable" and (behaviour != "create_twice" or kind == "clip")
        provider.behaviours = [behaviour] if is_next else []

    @rule(point=st.sampled_from(FAILPOINTS), after=st.integers(0, 2))
    def kill_a_process(self, point: str, after: int) -> None:
        """Kill it at a failpoint while the run is driven and its orders are reconciled."""
        left = after

        def kill(current: str) -> None:
            nonlocal left
            if current == point:
                left -= 1
                if left < 0:
                    raise ProcessKilled

        set_hook(kill)
        self.drive()
        self.reconcile_all_orders()
        failpoints.hook = None

    @rule()
    def finish_everything(self) -> None:
        """Every task succeeds, and the run continues."""
        self.finish_all_tasks()
        self.reconcile_all_orders()
        self.drive()

    def finish_all_tasks(self) -> None:
        for provider in self.all_providers():
            for charge in provider.charges:
                provider.finish(charge.task_id)

    # ---- what people do --------------------------------------------------------------------------------------------

    @rule()
    def approve_the_open_review(self) -> None:
        if review := self.view().review:
            self.decide_concurrently(review.gate, "approve")

    @rule(gate=st.sampled_from(["ideation", "publish"]), verdict=st.sampled_from(["approve", "revise"]))
    def decide_concurrently(self, gate: Gate, verdict: Verdict) -> None:
        """Of two concurrent decisions in two processes one is recorded, and only at the open gate."""
        review = self.view().review
        is_open = review is not None and review.gate == gate
        comment, digest = "Warmer light, please." if verdict == "revise" else "", review.digest if review else None
        decision = DecisionInput(verdict=verdict, comment=comment, digest=digest)

        async def decide_in(services: Services) -> str:
            try:
                await decide(services, UUID(self.run), gate, decision, RequestContext(LOCAL, "cli"))
            except GateNotOpen:
                return "refused"
            return "recorded"

        async def both() -> list[str]:
            return await asyncio.gather(*(decide_in(each) for each in self.processes))

        with no_failpoints():
            outcomes = Counter(self.do(both()))
        assert outcomes == (Counter(recorded=1, refused=1) if is_open else Counter(refused=2))
        if is_open:
            self.verdicts.append((gate, verdict))

    @rule()
    def retry(self) -> None:
        """Retry as a person does after a check with the providers: only a task that does not exist was not made."""
        view = self.view()
        unknown = [order for order in self.orders() if order.state == "unknown"]
        created = {charge.key for provider in self.all_providers() for charge in provider.charges}
        not_made = bool(unknown) and not any(order.key in created for order in unknown)
        is_retryable = view.error is not None and view.status == "failed" and view.error.retryable
        # What a run in trouble waits for is tried again at once. A declaration is only for a run that failed.
        is_retryable |= not not_made and bool(self.do(troubles.list_subjects(self.services.db, UUID(self.run))))
        try:
            with no_failpoints():
                self.do(self.retry_run(not_made=not_made))
        except NotRetryable:
            assert not is_retryable
        except (OutcomeUnknown, Unavailable):  # the latter if the provider of an unknown order cannot be queried
            assert unknown
        else:
            assert is_retryable

    async def retry_run(self, *, not_made: bool) -> None:
        """Retry the run; a declaration is sent again with the code of the evidence."""
        try:
            await retry_run(self.services, UUID(self.run), not_made=not_made, context=ANNA)
        except OutcomeUnknown as refused:
            if not not_made:
                raise
            confirm = refused.details["confirm"]
            await retry_run(self.services, UUID(self.run), not_made=True, confirm=confirm, context=ANNA)

    @rule()
    def cancel(self) -> None:
        if len(self.verdicts) < 2:
            return
        has_ended = self.view().status in ("completed", "failed")
        try:
            with no_failpoints():
                self.do(cancel_run(self.services, UUID(self.run), ANNA))
        except RunEnded:
            assert has_ended
        else:
            assert not has_ended
            self.charges_at_cancel = self.count_charges()

    # ---- what must be true -----------------------------------------------------------------------------------------

    def all_providers(self) -> list[CountingProvider]:
        return list(self.fake_providers.all().values())

    def count_charges(self) -> int:
        return sum(len(provider.charges) for provider in self.all_providers())

    @invariant()
    def no_order_is_placed_twice(self) -> None:
        for provider in self.all_providers():
            assert all(count <= 1 for count in provider.attempts.values()), provider.attempts

    @invariant()
    def nothing_is_ordered_without_approval(self) -> None:
        approved = {gate for gate, verdict in self.verdicts if verdict == "approve"}
        assert not self.fake_providers.clip.charges or "ideation" in approved
        assert not self.fake_providers.publication.charges or "publish" in approved

    @invariant()
    def only_a_failed_publication_is_repeated(self) -> None:
        provider = self.fake_providers.publication
        failed = [charge for charge in provider.charges if isinstance(provider.results.get(charge.task_id), Failed)]
        assert len(provider.charges) - len(failed) <= 1

    @invariant()
    def nothing_is_ordered_after_a_cancellation(self) -> None:
        assert self.charges_at_cancel is None or self.count_charges() == self.charges_at_cancel

    @invariant()
    def status_is_consistent(self) -> None:
        if not self.processes:
            return
        view = self.view()
        gate = view.review.gate if view.review else None
        expected = {"ideation": "awaiting_ideation_approval", "publish": "awaiting_publish_approval"}
        assert (gate is None) == (view.status not in expected.values())
        assert gate is None or view.status == expected[gate]
        if self.charges_at_cancel is not None:
            assert view.error is not None
            assert (view.status, view.error.code) == ("failed", "cancelled")
        if self.final_status:
            assert view.status == self.final_status
        if view.status == "completed":
            self.final_status = "completed"
            assert ("publish", "approve") in self.verdicts
            assert len(self.fake_providers.publication.charges) >= 1
        if view.status == "failed":
            assert view.error is not None
            assert view.error.message
        assert view.cost.reserved_usd + view.cost.spent_usd <= view.cost.cap_usd

    @invariant()
    def recorded_decisions_are_those_made(self) -> None:
        if self.processes:
            rows = self.do(
                self.services.db.fetch_all(
                    "select gate, verdict from decisions where run_id = %s order by number", (self.run,)
                )
            )
            assert [(row["gate"], row["verdict"]) for row in rows] == self.verdicts

    def teardown(self) -> None:
        """No run is ever stuck: once all providers work and all reviews are approved, it ends, with one history."""
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
        for provider in self.all_providers():
            provider.behaviours, provider.unavailable = [], False
        for _ in range(40):
            view = self.view()
            if view.status == "completed" or (view.error and not view.error.retryable):
                break
            self.approve_the_open_review()
            if view.status == "failed":
                self.retry()
            self.drive()
            self.finish_everything()
        for check in (
            self.no_order_is_placed_twice,
            self.nothing_is_ordered_without_approval,
            self.only_a_failed_publication_is_repeated,
            self.nothing_is_ordered_after_a_cancellation,
            self.status_is_consistent,
            self.recorded_decisions_are_those_made,
        ):
            check()
        view = self.view()
        assert view.status == "completed" or self.charges_at_cancel is not None, view
        forks = self.do(
            self.services.db.fetch_all(
                f"select * from ({FORKS}) as forks where thread_id = '{self.run}'"  # type: ignore[arg-type]  # not a literal
            )
        )
        assert forks == []


@contextmanager
def no_failpoints() -> Iterator[None]:
    """Nothing is killed in the block."""
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
@pytest.mark.slow
def test_no_reachable_state_breaks_an_invariant(database_url: str) -> None:
    """Every state that the rules reach agrees with the model."""
    RunMachine.dsn = database_url
    run_state_machine_as_test(RunMachine, settings=QUICK)
