"""An order without an answer is submitted again only to a provider that recognises its key, and under its approval."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from providers.orders import Order
from runs.reconcile import reconcile_order
from runs.run_requests import cancel_run
from runs.services import Services
from storage.admission import Caps
from tests.ledger.fake_provider import (
    ANNA,
    FakeProviders,
    ProcessKilled,
    approval,
    events_of,
    kill_at,
    new_order,
    new_run,
    run_costs,
    state_of,
)

HOUR = timedelta(hours=1)


async def _place_lost(services: Services, fake_providers: FakeProviders, behaviour: str, *, cap: str = "100") -> Order:
    """Place an order that gets no answer and that no lookup finds."""
    fake_providers.clip.behaviours, fake_providers.clip.replayable = [behaviour], HOUR
    run = await new_run(services.db, cap=cap)
    order = new_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)
    fake_providers.clip.hidden = {charge.task_id for charge in fake_providers.clip.charges}
    return order


@pytest.mark.parametrize("first_call", ["create_without_answer", "no_answer"])
async def test_order_without_an_answer_is_submitted_again(
    services: Services, fake_providers: FakeProviders, first_call: str
) -> None:
    """The second call has the same key and request, and whether or not the first arrived, one task is charged."""
    order = await _place_lost(services, fake_providers, first_call)

    await reconcile_order(services, str(order.key))

    assert await state_of(services, order.key) == "submitted"
    assert fake_providers.clip.submitted == [(str(order.key), order.request)] * 2
    assert len(fake_providers.clip.charges) == 1
    assert len(await events_of(services.db, order.run_id, "order.replayed")) == 1
    assert not await events_of(services.db, order.run_id, "charge.duplicate")


async def test_killed_process_has_its_order_submitted_again(services: Services, fake_providers: FakeProviders) -> None:
    """A process that was killed around the call, or around its replay, leaves one task."""
    fake_providers.clip.replayable = HOUR
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    fake_providers.clip.hidden = set()
    async with kill_at("submit.after"):
        with pytest.raises(ProcessKilled):
            await services.ledger.place_once(order)
        fake_providers.clip.hidden = {charge.task_id for charge in fake_providers.clip.charges}
        with pytest.raises(ProcessKilled):
            await reconcile_order(services, str(order.key))

    await reconcile_order(services, str(order.key))

    assert await state_of(services, order.key) == "submitted"
    assert (fake_providers.clip.calls, len(fake_providers.clip.charges)) == (3, 1)


async def test_order_that_a_lookup_finds_is_not_submitted_again(
    services: Services, fake_providers: FakeProviders
) -> None:
    """A lookup comes first, and a replay only after the lookup window."""
    order = await _place_lost(services, fake_providers, "create_without_answer")
    fake_providers.clip.lookup_window = timedelta(minutes=1)
    await reconcile_order(services, str(order.key))
    assert (await state_of(services, order.key), fake_providers.clip.calls) == ("reserved", 1)
    fake_providers.clip.hidden, fake_providers.clip.lookup_window = set(), timedelta(0)

    await reconcile_order(services, str(order.key))

    assert (await state_of(services, order.key), fake_providers.clip.calls) == ("submitted", 1)


@pytest.mark.parametrize("ago", ["59 minutes", "61 minutes"])
async def test_replay_is_limited_in_time(services: Services, fake_providers: FakeProviders, ago: str) -> None:
    """Outside the time that the provider recognises a key, the outcome is unknown and a person decides."""
    order = await _place_lost(services, fake_providers, "no_answer")
    await services.db.execute("update orders set called_at = called_at - %s::interval", (ago,))

    await reconcile_order(services, str(order.key))

    expected = ("submitted", 2) if ago == "59 minutes" else ("unknown", 1)
    assert (await state_of(services, order.key), fake_providers.clip.calls) == expected


@pytest.mark.parametrize("answer", ["no_answer", "not_sent"])
async def test_replay_without_an_answer_is_repeated(
    services: Services, fake_providers: FakeProviders, answer: str
) -> None:
    """A replay that was not answered, or did not arrive, changes nothing about the first call: it is repeated."""
    order = await _place_lost(services, fake_providers, "create_without_answer")
    before = await services.ledger.get(str(order.key))
    assert before is not None
    fake_providers.clip.behaviours = [answer]

    await reconcile_order(services, str(order.key))

    after = await services.ledger.get(str(order.key))
    assert after is not None
    assert (after.state, after.called_at) == ("reserved", before.called_at)
    await reconcile_order(services, str(order.key))
    assert await state_of(services, order.key) == "submitted"
    assert len(fake_providers.clip.charges) == 1


async def test_refused_replay_leaves_the_outcome_unknown(services: Services, fake_providers: FakeProviders) -> None:
    """A refusal of the second call does not prove that the first one was refused."""
    order = await _place_lost(services, fake_providers, "create_without_answer")
    fake_providers.clip.behaviours = ["refuse"]

    for _ in range(2):
        await reconcile_order(services, str(order.key))

    assert (await state_of(services, order.key), fake_providers.clip.calls) == ("unknown", 2)
    assert (await run_costs(services.db, order.run_id)).reserved_usd == order.amount_usd


async def test_order_of_a_cancelled_run_is_looked_up_only(services: Services, fake_providers: FakeProviders) -> None:
    """Without its approval an order is not submitted again; a lookup that finds it still counts."""
    order = await _place_lost(services, fake_providers, "create_without_answer")
    await cancel_run(services, UUID(order.run_id), ANNA)

    await reconcile_order(services, str(order.key))
    assert (await state_of(services, order.key), fake_providers.clip.calls) == ("unknown", 1)
    fake_providers.clip.hidden = set()
    await reconcile_order(services, str(order.key))

    assert (await state_of(services, order.key), fake_providers.clip.calls) == ("submitted", 1)


async def test_order_without_its_decision_is_looked_up_only(services: Services, fake_providers: FakeProviders) -> None:
    """An order whose approval is not recorded is not submitted again."""
    order = await _place_lost(services, fake_providers, "no_answer")
    await services.db.execute("update orders set decision = null")

    await reconcile_order(services, str(order.key))

    assert (await state_of(services, order.key), fake_providers.clip.calls) == ("unknown", 1)


@pytest.mark.parametrize(("day_cap", "calls"), [("1.00", 2), ("0.99", 1)])
async def test_own_reservation_is_counted_once(
    services: Services, fake_providers: FakeProviders, day_cap: str, calls: int
) -> None:
    """An order that uses the caps up to the cent is submitted again; under a cap that was lowered it is not."""
    order = await _place_lost(services, fake_providers, "no_answer", cap="1.00")
    assert order.amount_usd == 1
    services.ledger.caps = Caps(day_usd=Decimal(day_cap))

    await reconcile_order(services, str(order.key))

    assert fake_providers.clip.calls == calls


async def test_other_providers_are_never_called_again(services: Services, fake_providers: FakeProviders) -> None:
    """Without an idempotency key another call may be another order."""
    order = await _place_lost(services, fake_providers, "no_answer")
    fake_providers.clip.replayable = None

    await reconcile_order(services, str(order.key))

    assert (await state_of(services, order.key), fake_providers.clip.calls) == ("unknown", 1)
