"""An order is placed once, whatever happens while it is placed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import UUID

import pytest

from runs.cancel import cancel_run
from runs.errors import OutcomeUnknown
from runs.reconcile import reconcile_order
from runs.retry import retry_run
from runs.services import Services
from storage import failpoints
from storage import ledger as ledger_module
from storage import runs as table
from tests.ledger.fake_provider import (
    FakeProvider,
    FakeProviders,
    ProcessKilled,
    an_order,
    approval,
    events_of,
    kill_at,
    new_run,
    opened,
    state_of,
)


async def test_twenty_callers_of_two_processes_place_one_order(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path
) -> None:
    """Of twenty who place one order at once, in two processes, one calls."""
    async with (
        opened(database_url, fake_providers, tmp_path) as one,
        opened(database_url, fake_providers, tmp_path) as other,
    ):
        run = await new_run(one.db)
        order = an_order(run, await approval(one.db, run))

        await asyncio.gather(*(each.ledger.place_once(order) for each in (one, other) * 10))

        assert len(fake_providers.clip.sales) == 1
        assert await state_of(one, order.key) == "submitted"
        assert len(await events_of(one.db, run, "order.submitted")) == 1


async def test_answer_lost_is_found(services: Services, fake_providers: FakeProviders) -> None:
    """An order whose process died after the call is found by its words, and not placed again."""
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    async with kill_at("submit.after"):
        with pytest.raises(ProcessKilled):
            await services.ledger.place_once(order)
    assert await state_of(services, order.key) == "reserved"

    await services.ledger.place_once(order)
    await reconcile_order(services, order.key)

    assert await state_of(services, order.key) == "submitted"
    assert [sale.key for sale in fake_providers.clip.sales] == [order.key]
    assert fake_providers.clip.calls == 1


async def test_two_candidates(services: Services, fake_providers: FakeProviders) -> None:
    """Of two that look alike the older is taken, and the other is told as a charge too many, once."""
    fake_providers.clip.behaviours = ["sells_twice"]
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)

    await reconcile_order(services, order.key)
    await reconcile_order(services, order.key)

    row = await services.ledger.get(order.key)
    assert row is not None
    assert row["task_id"] == fake_providers.clip.sales[0].task_id
    told = await events_of(services.db, run, "charge.duplicate")
    assert [each["payload"]["task_id"] for each in told] == [fake_providers.clip.sales[1].task_id]
    assert fake_providers.clip.calls == 1


@pytest.mark.parametrize("how", ["power fails before the call", "silence"])
async def test_outcome_unknown(services: Services, fake_providers: FakeProviders, how: str) -> None:
    """Not found within the provider's patience, an order is of unknown outcome: only a person orders it again."""
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    if how == "silence":
        fake_providers.clip.behaviours = ["silent"]
        await services.ledger.place_once(order)
    else:
        async with kill_at("submit.before"):
            with pytest.raises(ProcessKilled):
                await services.ledger.place_once(order)
    await reconcile_order(services, order.key)
    assert await state_of(services, order.key) == "unknown"
    await _failed(services, run)

    for _ in range(2):
        with pytest.raises(OutcomeUnknown) as refused:
            await retry_run(services, UUID(run), by="anna", channel="api", external_id="first")
    [lost] = refused.value.details["orders"]
    assert (lost["order"], lost["look_at"]) == (order.key, "the counter of the clips")
    assert await state_of(services, order.key) == "unknown"
    await services.ledger.place_once(order)
    assert not fake_providers.clip.sales

    await retry_run(services, UUID(run), not_made=True, by="anna", channel="api", external_id="second")
    await services.ledger.place_once(order)
    again = an_order(run, order.approval, take=2)
    await services.ledger.place_once(again)

    assert await state_of(services, order.key) == "failed"
    assert [sale.key for sale in fake_providers.clip.sales] == [again.key]


async def test_patience(services: Services, fake_providers: FakeProviders) -> None:
    """Within the provider's patience an order that is not found yet is of no unknown outcome."""
    fake_providers.clip.behaviours, fake_providers.clip.lookup_window = (
        ["silent"],
        type(fake_providers.clip.lookup_window)(minutes=1),
    )
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)

    await reconcile_order(services, order.key)

    assert await state_of(services, order.key) == "reserved"


@pytest.mark.parametrize("who_looks", ["the sweeper", "the retry"])
async def test_found_late(services: Services, fake_providers: FakeProviders, who_looks: str) -> None:
    """An order of unknown outcome that turns up late is bound, and a word that it was not made comes too late."""
    fake_providers.clip.behaviours = ["sells_and_is_silent"]
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)
    fake_providers.clip.hidden = {fake_providers.clip.sales[0].task_id}
    await reconcile_order(services, order.key)
    assert await state_of(services, order.key) == "unknown"
    await _failed(services, run)
    fake_providers.clip.hidden = set()

    if who_looks == "the sweeper":
        await reconcile_order(services, order.key)
    else:
        await retry_run(services, UUID(run), not_made=True, by="anna", channel="api", external_id="first")

    assert await state_of(services, order.key) == "submitted"
    assert fake_providers.clip.calls == 1


async def test_answer_after_the_person_gave_up(services: Services, fake_providers: FakeProviders) -> None:
    """A call that is answered after its order was declared not made is told as a charge too many."""
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    real = fake_providers.clip.submit

    async def slow(request, *, key):
        task_id = await real(request, key=key)
        await services.ledger.mark_unknown(key)
        await services.ledger.declare_not_made(run, [key], by="anna", channel="api")
        return task_id

    fake_providers.clip.submit = slow  # type: ignore[method-assign]

    await services.ledger.place_once(order)

    assert await state_of(services, order.key) == "failed"
    [told] = await events_of(services.db, run, "charge.duplicate")
    assert told["payload"]["task_id"] == fake_providers.clip.sales[0].task_id


async def test_frozen_between_claim_and_call(
    services: Services, fake_providers: FakeProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was frozen after it claimed an order does not call: others have dealt with the order since."""
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    monkeypatch.setattr(ledger_module, "CLAIM_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(failpoints, "hook", lambda point: time.sleep(0.1) if point == "submit.before" else None)

    await services.ledger.place_once(order)

    assert fake_providers.clip.calls == 0
    monkeypatch.setattr(failpoints, "hook", None)
    await services.ledger.place(order.key)
    assert fake_providers.clip.calls == 1


async def test_closed_for_good(services: Services, fake_providers: FakeProviders) -> None:
    """An order that certainly does not arrive is tried again, and fails after a number of times."""
    fake_providers.clip.behaviours = ["closed"] * 20
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))

    await services.ledger.place_once(order)
    for _ in range(20):
        await services.ledger.place(order.key)

    assert fake_providers.clip.calls == ledger_module.MAX_SUBMIT_ATTEMPTS
    assert await state_of(services, order.key) == "failed"
    assert not fake_providers.clip.sales


async def test_refused(services: Services, fake_providers: FakeProviders) -> None:
    """An order that the provider refuses is over, and what was reserved is given back."""
    fake_providers.clip.behaviours = ["refuses"]
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))

    await services.ledger.place_once(order)
    await services.ledger.place_once(order)

    assert fake_providers.clip.calls == 1
    assert await state_of(services, order.key) == "failed"
    costs = await table.run_costs(services.db, run)
    assert costs["reserved"] == costs["spent"] == 0


async def test_cancelled_before_the_call(services: Services, fake_providers: FakeProviders) -> None:
    """What a cancelled run reserved and did not order is given back, and never ordered."""
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    await services.ledger.reserve([order])
    await cancel_run(services, UUID(run), by="anna", channel="api", external_id="cancel")

    await services.ledger.place(order.key)

    assert fake_providers.clip.calls == 0
    assert (await table.run_costs(services.db, run))["reserved"] == 0
    [said] = await events_of(services.db, run, "order.refused")
    assert said["payload"]["code"] == "cancelled"


async def test_settled_once(services: Services, fake_providers: FakeProviders) -> None:
    """The first result of an order counts; what is told later changes nothing."""
    run = await new_run(services.db)
    order = an_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)

    first, second = await asyncio.gather(*(services.ledger.settle(order.key, {"digest": d}) for d in "ab"))

    assert first != second
    assert not await services.ledger.fail(order.key, "late", "Too late.")
    assert (await table.run_costs(services.db, run))["spent"] == order.amount_usd


async def test_first_answer_of_a_model_counts(services: Services) -> None:
    """Of two processes that asked a model for the same thing, both go on with the first answer."""
    run = await new_run(services.db)
    from agents.supervisor import Screening
    from providers.orders import ModelAnswer

    async def told(reason: str):
        return ModelAnswer(Screening(fits=True, reason=reason), 10, 10)

    async def late():
        await services.ledger.cached_answer(f"{run}:screening", run, lambda: told("first"))
        return await told("second")

    answers = [await services.ledger.cached_answer(f"{run}:screening", run, late) for _ in range(2)]

    assert [answer["reason"] for answer in answers] == ["first", "first"]


async def _failed(services: Services, run: str) -> None:
    """The run has failed, as it does when a clip is of unknown outcome."""
    await services.db.execute(
        'update runs set status = \'failed\', error = \'{"code": "clip_outcome_unknown", "retryable": true}\''
        " where id = %s",
        (run,),
    )


async def test_another_provider_is_not_asked_for_it(database_url: str, tmp_path: Path) -> None:
    """After the settings name somebody else, a render fails for a retry to order anew, and a clip is waited for."""
    before, after = (
        FakeProviders(),
        FakeProviders(clip=FakeProvider("other clips"), render=FakeProvider("other renders")),
    )
    async with opened(database_url, before, tmp_path) as old, opened(database_url, after, tmp_path) as new:
        run = await new_run(old.db)
        clip = an_order(run, await approval(old.db, run))
        render = an_order(run, None, kind="render", usd="0")
        later = an_order(run, None, kind="render", usd="0", take=2)
        await old.ledger.place_once(clip)
        await old.ledger.place_once(render)
        await old.ledger.reserve([later])

        for order in (clip, render, later):
            await reconcile_order(new, order.key)

        assert [await state_of(new, order.key) for order in (clip, render, later)] == [
            "submitted",
            "failed",
            "submitted",
        ]
        failed, moved = await new.ledger.get(render.key), await new.ledger.get(later.key)
        assert failed is not None
        assert (failed["result"] or {})["code"] == "renderer_changed"
        assert moved is not None
        assert (moved["provider"], after.render.calls, after.clip.calls) == ("other renders", 1, 0)
