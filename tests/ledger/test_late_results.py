"""Orders that never finish, cannot be polled, or are charged without a result are not paid twice."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from graph.nodes.orders import StepFailed
from graph.nodes.publication import await_publication
from providers.base import Unavailable
from providers.orders import OrderKey
from providers.results import Failed, FileMissing, NotFound, Pending, Succeeded
from runs.errors import OutcomeUnknown
from runs.history import get_history
from runs.reconcile import reconcile_order
from runs.run_records import RunRecords
from runs.run_requests import retry_run
from runs.services import Services
from storage.spending import Costs
from tests.ledger.fake_provider import (
    ANNA,
    Charge,
    FakeProvider,
    FakeProviders,
    approval,
    events_of,
    new_order,
    new_run,
    open_services,
    request,
    retry_not_made,
    run_costs,
    state_of,
)

OVERDUE = "25 hours"


async def _place(services: Services, kind: str = "clip", *, ago: str = "0 hours") -> str:
    """Place an order, dated back by this time, and return its key."""
    run = await new_run(services.db)
    approved = await approval(services.db, run, "publish" if kind == "publication" else "ideation")
    order = new_order(run, None if kind == "render" else approved, kind=kind, usd="1" if kind == "clip" else "0")
    await services.ledger.place_once(order)
    await _date_back(services, str(order.key), ago)
    return str(order.key)


async def _date_back(services: Services, key: str, ago: str) -> None:
    await services.db.execute(
        "update orders set created_at = created_at - %(ago)s::interval, called_at = called_at - %(ago)s::interval,"
        " submitted_at = submitted_at - %(ago)s::interval, missing_since = missing_since - %(ago)s::interval,"
        " file_missing_since = file_missing_since - %(ago)s::interval"
        " where key = %(key)s",
        {"ago": ago, "key": key},
    )


async def _fail_run(services: Services, key: str) -> UUID:
    """Let the run of this order fail, so that it waits for a person; return its id."""
    run_id = UUID(OrderKey.parse(key).run_id)
    error = '{"code": "outcome_unknown", "retryable": true}'
    await services.db.execute("update runs set status = 'failed', error = %s where id = %s", (error, run_id))
    return run_id


@pytest.mark.parametrize("kind", ["clip", "publication"])
@pytest.mark.parametrize("trouble", ["unavailable", "pending", "missing"])
async def test_submitted_order_that_never_finishes_becomes_unknown(
    services: Services, fake_providers: FakeProviders, kind: str, trouble: str
) -> None:
    """It does not fail, which would have it ordered again; a late result counts."""
    provider: FakeProvider = getattr(fake_providers, kind)
    key = await _place(services, kind, ago=OVERDUE)
    (charge,) = provider.charges
    provider.unavailable = trouble == "unavailable"
    if trouble == "missing":
        provider.results = {charge.task_id: NotFound()}
        await reconcile_order(services, key)
        assert await state_of(services, key) == "submitted"  # missing for a moment only
        await _date_back(services, key, "6 minutes")
    await reconcile_order(services, key)
    assert await state_of(services, key) == "unknown"

    run_id = await _fail_run(services, key)
    with pytest.raises(OutcomeUnknown):
        await retry_run(services, run_id, context=request("plain"))
    assert len(provider.charges) == 1

    provider.unavailable = False
    provider.results = {charge.task_id: Succeeded(facts={"seconds": 3.0})}
    await reconcile_order(services, key)
    assert await state_of(services, key) == "settled"
    await retry_run(services, run_id, context=request("late"))
    assert len(provider.charges) == 1


@pytest.mark.parametrize("trouble", ["unavailable", "pending", "missing"])
async def test_order_waits_within_its_time_limit(
    services: Services, fake_providers: FakeProviders, trouble: str
) -> None:
    """One failed poll changes nothing, however long ago the order was placed."""
    key = await _place(services, ago="10 hours")
    fake_providers.clip.unavailable = trouble == "unavailable"
    fake_providers.clip.results = {
        fake_providers.clip.charges[0].task_id: NotFound() if trouble == "missing" else Pending(0.5)
    }
    await reconcile_order(services, key)

    assert await state_of(services, key) == "submitted"


async def test_pending_order_is_not_placed_again(services: Services, fake_providers: FakeProviders) -> None:
    """Declaring an order not made has no effect if the provider, polled again, reports it as pending."""
    key = await _place(services)
    (charge,) = fake_providers.clip.charges
    await services.ledger.mark_unknown(key)
    fake_providers.clip.results = {charge.task_id: Pending(0.6)}
    run_id = await _fail_run(services, key)
    await retry_run(services, run_id, not_made=True, context=ANNA)
    assert await state_of(services, key) == "submitted"

    fake_providers.clip.results = {charge.task_id: Succeeded(facts={"seconds": 3.0})}
    await reconcile_order(services, key)
    assert await state_of(services, key) == "settled"
    assert len(fake_providers.clip.charges) == 1


async def test_unchanged_share_is_no_progress(services: Services, fake_providers: FakeProviders) -> None:
    """The database returns one third with fewer digits than were written."""
    key = await _place(services, "publication", ago=OVERDUE)
    fake_providers.publication.results = {fake_providers.publication.charges[0].task_id: Pending(1 / 3)}
    await reconcile_order(services, key)
    assert await state_of(services, key) == "submitted"
    await reconcile_order(services, key)

    assert await state_of(services, key) == "unknown"


async def test_retry_counts_for_earlier_failures_only(services: Services, fake_providers: FakeProviders) -> None:
    """A post is found after a retry; when it is lost again later, that retry does not permit another post."""
    key = await _place(services, "publication")
    run = OrderKey.parse(key).run_id
    state: Any = {"run_id": run, "publication_key": key}
    deps: Any = SimpleNamespace(ledger=services.ledger, records=RunRecords(services.db))
    await services.ledger.mark_unknown(key)
    await _fail_run(services, key)
    fake_providers.publication.results = {fake_providers.publication.charges[0].task_id: Pending()}
    await retry_run(services, UUID(run), context=request("found"))
    await services.ledger.mark_unknown(key)

    with pytest.raises(StepFailed) as failure:
        await await_publication(state, deps=deps)
    assert failure.value.code == "publication_unconfirmed"
    await services.ledger.fail(key, "declared_not_made", "Declared as not made.")
    with pytest.raises(StepFailed):
        await await_publication(state, deps=deps)
    await _fail_run(services, key)
    await retry_run(services, UUID(run), context=request("again"))
    assert (await await_publication(state, deps=deps))["route"] == "order_publication"


async def test_render_that_never_finishes_fails(services: Services, fake_providers: FakeProviders) -> None:
    """Another render costs nothing."""
    key = await _place(services, "render", ago=OVERDUE)
    await reconcile_order(services, key)

    assert await state_of(services, key) == "failed"


async def test_order_that_cannot_be_looked_up_becomes_unknown(
    services: Services, fake_providers: FakeProviders
) -> None:
    """An unavailable provider delays a run for a day at most; a retry needs another lookup before it is accepted."""
    fake_providers.clip.behaviours, fake_providers.clip.unavailable = ["create_without_answer"], True
    key = await _place(services)
    await reconcile_order(services, key)
    assert await state_of(services, key) == "reserved"
    await _date_back(services, key, OVERDUE)
    await reconcile_order(services, key)
    assert await state_of(services, key) == "unknown"

    await services.db.execute("update orders set called_at = now() - interval '1 hour' where key = %s", (key,))
    run_id = await _fail_run(services, key)
    with pytest.raises(Unavailable):
        await retry_run(services, run_id, not_made=True, context=request("unavailable"))
    assert await state_of(services, key) == "unknown"
    fake_providers.clip.unavailable = False
    await retry_run(services, run_id, not_made=True, context=request("available"))
    assert await state_of(services, key) == "submitted"
    assert len(fake_providers.clip.charges) == 1


async def test_order_of_a_lost_provider_can_be_declared_not_made(
    services: Services, fake_providers: FakeProviders
) -> None:
    """After a day without its provider an order can be declared not made; otherwise its run could only be cancelled."""
    fake_providers.clip.behaviours, fake_providers.clip.unavailable = ["no_answer"], True
    key = await _place(services)
    await _date_back(services, key, OVERDUE)
    await reconcile_order(services, key)
    await retry_not_made(services, await _fail_run(services, key))

    assert await state_of(services, key) == "failed"


async def test_declaration_covers_only_the_named_orders(services: Services, fake_providers: FakeProviders) -> None:
    """An order that became unknown since is not failed by an earlier declaration."""
    fake_providers.clip.behaviours = ["no_answer", "no_answer"]
    key = await _place(services)
    await reconcile_order(services, key)
    run_id = await _fail_run(services, key)
    later = new_order(str(run_id), await approval(services.db, str(run_id), revision=2), number=2)
    await services.ledger.place_once(later)
    await services.ledger.mark_unknown(str(later.key))
    await services.ledger.declare_not_made(run_id, [key], ANNA)

    assert [await state_of(services, each) for each in (key, later.key)] == ["failed", "unknown"]


async def test_charged_failure_is_spent(services: Services, fake_providers: FakeProviders) -> None:
    """A finished clip that cannot be fetched counts under the cap, and in the costs of the run."""
    run = await new_run(services.db, cap="1.50")
    approved = await approval(services.db, run)
    first, second = new_order(run, approved), new_order(run, approved, take=2)
    await services.ledger.place_once(first)
    fake_providers.clip.results = {
        fake_providers.clip.charges[0].task_id: Failed("video_expired", "The video has expired.", charged=True)
    }
    await reconcile_order(services, str(first.key))
    await services.ledger.place_once(second)

    assert await state_of(services, first.key) == "failed"
    assert await run_costs(services.db, run) == Costs(reserved_usd=Decimal(0), spent_usd=Decimal(1))
    (refused,) = await events_of(services.db, run, "order.refused")
    assert refused["payload"]["code"] == "budget_exceeded"
    assert len(fake_providers.clip.charges) == 1


GONE = FileMissing(Failed("video_expired", "The video has expired.", charged=True))


async def test_missing_file_is_waited_for(services: Services, fake_providers: FakeProviders) -> None:
    """A finished clip whose file is not served waits as long as an order that the provider does not know."""
    key = await _place(services)
    (charge,) = fake_providers.clip.charges
    fake_providers.clip.results = {charge.task_id: NotFound()}
    await reconcile_order(services, key)
    await _date_back(services, key, "4 minutes")
    fake_providers.clip.results = {charge.task_id: GONE}
    for _ in range(2):
        await reconcile_order(services, key)
        assert await state_of(services, key) == "submitted"
        await _date_back(services, key, "4 minutes")

    fake_providers.clip.results = {charge.task_id: Succeeded(facts={"seconds": 3.0})}
    await reconcile_order(services, key)

    assert await state_of(services, key) == "settled"
    assert len(fake_providers.clip.charges) == 1


async def _place_without_file(services: Services, fake_providers: FakeProviders) -> tuple[str, UUID, Charge]:
    """Place an order whose file is not served until it failed; return its key, its failed run and its charge."""
    key = await _place(services)
    (charge,) = fake_providers.clip.charges
    fake_providers.clip.results = {charge.task_id: GONE}
    await reconcile_order(services, key)
    await _date_back(services, key, "6 minutes")
    await reconcile_order(services, key)
    row = await services.ledger.get(key)
    assert row is not None
    assert (row.state, row.spent_usd) == ("failed", Decimal(1))
    return key, await _fail_run(services, key), charge


async def test_retry_fetches_what_was_charged(services: Services, fake_providers: FakeProviders) -> None:
    """A clip that was written off is fetched by a retry when its file is served again; its price is spent once."""
    key, run_id, charge = await _place_without_file(services, fake_providers)
    fake_providers.clip.results = {charge.task_id: Succeeded(facts={"seconds": 3.0})}

    await retry_run(services, run_id, context=ANNA)

    assert await state_of(services, key) == "settled"
    assert await run_costs(services.db, run_id) == Costs(reserved_usd=Decimal(0), spent_usd=Decimal(1))
    history = await get_history(services.db, services.ledger, run_id)
    charged = [entry for entry in history.entries if entry.kind == "charge"]
    assert len(charged) == 1
    assert fake_providers.clip.calls == 1


@pytest.mark.parametrize("drop", [(), (1,)])
async def test_retry_goes_on_without_the_file(services: Services, fake_providers: FakeProviders, drop: tuple) -> None:
    """A file that stays missing is not waited for again, and a dropped clip is not fetched."""
    key, run_id, charge = await _place_without_file(services, fake_providers)
    approved = await approval(services.db, str(run_id), revision=2)
    for number in (2, 3):
        await services.ledger.place_once(new_order(str(run_id), approved, number=number))
    await _fail_run(services, key)
    if drop:
        fake_providers.clip.results = {charge.task_id: Succeeded(facts={"seconds": 3.0})}

    await retry_run(services, run_id, drop=drop, context=ANNA)

    assert await state_of(services, key) == "failed"


async def test_retry_needs_the_provider_of_a_charged_clip(services: Services, fake_providers: FakeProviders) -> None:
    """While the provider is unavailable, it is not known whether the clip can be fetched; nothing is ordered."""
    key, run_id, _ = await _place_without_file(services, fake_providers)
    fake_providers.clip.unavailable = True

    with pytest.raises(Unavailable):
        await retry_run(services, run_id, context=ANNA)
    assert await state_of(services, key) == "failed"


async def test_another_server_is_not_polled_for_an_order(database_url: str, tmp_path: Path) -> None:
    """Not even a server of the same kind; after a day a person declares the outcome."""
    before, after = FakeProviders(), FakeProviders(clip=FakeProvider("clips elsewhere"))
    async with (
        open_services(database_url, before, tmp_path) as old,
        open_services(database_url, after, tmp_path) as new,
    ):
        key = await _place(old)
        await reconcile_order(new, key)
        assert await state_of(new, key) == "submitted"
        await _date_back(new, key, OVERDUE)
        await reconcile_order(new, key)
        assert await state_of(new, key) == "unknown"
        run_id = await _fail_run(new, key)
        await retry_not_made(new, run_id)

    assert (before.clip.calls, after.clip.calls) == (1, 0)
