"""An order is placed once, whatever happens while it is placed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import UUID

import pytest

from runs.collect import collect
from runs.control import cancel, retry
from runs.errors import OutcomeUnknown
from runs.production import Production
from storage import ledger as ledger_module
from storage import points
from storage import runs as table
from tests.ledger.shop import (
    PowerCut,
    Shop,
    Shops,
    an_order,
    approval,
    events_of,
    new_run,
    opened,
    power_cut_at,
    state_of,
)


async def test_twenty_callers_of_two_processes_place_one_order(database_url: str, shops: Shops, tmp_path: Path) -> None:
    """Of twenty who place one order at once, in two processes, one calls."""
    async with opened(database_url, shops, tmp_path) as one, opened(database_url, shops, tmp_path) as other:
        run = await new_run(one.db)
        order = an_order(run, await approval(one.db, run))

        await asyncio.gather(*(each.ledger.once(order) for each in (one, other) * 10))

        assert len(shops.clip.sales) == 1
        assert await state_of(one, order.key) == "submitted"
        assert len(await events_of(one.db, run, "order.submitted")) == 1


async def test_answer_lost_is_found(production: Production, shops: Shops) -> None:
    """An order whose process died after the call is found by its words, and not placed again."""
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    async with power_cut_at("submit.after"):
        with pytest.raises(PowerCut):
            await production.ledger.once(order)
    assert await state_of(production, order.key) == "reserved"

    await production.ledger.once(order)
    await collect(production, order.key)

    assert await state_of(production, order.key) == "submitted"
    assert [sale.key for sale in shops.clip.sales] == [order.key]
    assert shops.clip.calls == 1


async def test_two_candidates(production: Production, shops: Shops) -> None:
    """Of two that look alike the older is taken, and the other is told as a charge too many, once."""
    shops.clip.moods = ["sells_twice"]
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    await production.ledger.once(order)

    await collect(production, order.key)
    await collect(production, order.key)

    row = await production.ledger.row(order.key)
    assert row is not None
    assert row["task_id"] == shops.clip.sales[0].task_id
    told = await events_of(production.db, run, "charge.duplicate")
    assert [each["payload"]["task_id"] for each in told] == [shops.clip.sales[1].task_id]
    assert shops.clip.calls == 1


@pytest.mark.parametrize("how", ["power fails before the call", "silence"])
async def test_outcome_unknown(production: Production, shops: Shops, how: str) -> None:
    """Not found within the provider's patience, an order is of unknown outcome: only a person orders it again."""
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    if how == "silence":
        shops.clip.moods = ["silent"]
        await production.ledger.once(order)
    else:
        async with power_cut_at("submit.before"):
            with pytest.raises(PowerCut):
                await production.ledger.once(order)
    await collect(production, order.key)
    assert await state_of(production, order.key) == "unknown"
    await _failed(production, run)

    for _ in range(2):
        with pytest.raises(OutcomeUnknown) as refused:
            await retry(production, UUID(run), by="anna", channel="api", external_id="first")
    [lost] = refused.value.details["orders"]
    assert (lost["order"], lost["look_at"]) == (order.key, "the counter of the clips")
    assert await state_of(production, order.key) == "unknown"
    await production.ledger.once(order)
    assert not shops.clip.sales

    await retry(production, UUID(run), not_made=True, by="anna", channel="api", external_id="second")
    await production.ledger.once(order)
    again = an_order(run, order.approval, take=2)
    await production.ledger.once(again)

    assert await state_of(production, order.key) == "failed"
    assert [sale.key for sale in shops.clip.sales] == [again.key]


async def test_patience(production: Production, shops: Shops) -> None:
    """Within the provider's patience an order that is not found yet is of no unknown outcome."""
    shops.clip.moods, shops.clip.patience = ["silent"], type(shops.clip.patience)(minutes=1)
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    await production.ledger.once(order)

    await collect(production, order.key)

    assert await state_of(production, order.key) == "reserved"


@pytest.mark.parametrize("who_looks", ["the sweeper", "the retry"])
async def test_found_late(production: Production, shops: Shops, who_looks: str) -> None:
    """An order of unknown outcome that turns up late is bound, and a word that it was not made comes too late."""
    shops.clip.moods = ["sells_and_is_silent"]
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    await production.ledger.once(order)
    shops.clip.hidden = {shops.clip.sales[0].task_id}
    await collect(production, order.key)
    assert await state_of(production, order.key) == "unknown"
    await _failed(production, run)
    shops.clip.hidden = set()

    if who_looks == "the sweeper":
        await collect(production, order.key)
    else:
        await retry(production, UUID(run), not_made=True, by="anna", channel="api", external_id="first")

    assert await state_of(production, order.key) == "submitted"
    assert shops.clip.calls == 1


async def test_answer_after_the_person_gave_up(production: Production, shops: Shops) -> None:
    """A call that is answered after its order was declared not made is told as a charge too many."""
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    real = shops.clip.submit

    async def slow(request, *, key):
        task_id = await real(request, key=key)
        await production.ledger.lose(key)
        await production.ledger.declare_not_made(run, [key], by="anna", channel="api")
        return task_id

    shops.clip.submit = slow  # type: ignore[method-assign]

    await production.ledger.once(order)

    assert await state_of(production, order.key) == "failed"
    [told] = await events_of(production.db, run, "charge.duplicate")
    assert told["payload"]["task_id"] == shops.clip.sales[0].task_id


async def test_frozen_between_claim_and_call(
    production: Production, shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was frozen after it claimed an order does not call: others have dealt with the order since."""
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    monkeypatch.setattr(ledger_module, "STALE", 0.05)
    monkeypatch.setattr(points, "hook", lambda point: time.sleep(0.1) if point == "submit.before" else None)

    await production.ledger.once(order)

    assert shops.clip.calls == 0
    monkeypatch.setattr(points, "hook", None)
    await production.ledger.place(order.key)
    assert shops.clip.calls == 1


async def test_closed_for_good(production: Production, shops: Shops) -> None:
    """An order that certainly does not arrive is tried again, and fails after a number of times."""
    shops.clip.moods = ["closed"] * 20
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))

    await production.ledger.once(order)
    for _ in range(20):
        await production.ledger.place(order.key)

    assert shops.clip.calls == ledger_module.TRIES
    assert await state_of(production, order.key) == "failed"
    assert not shops.clip.sales


async def test_refused(production: Production, shops: Shops) -> None:
    """An order that the provider refuses is over, and what was reserved is given back."""
    shops.clip.moods = ["refuses"]
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))

    await production.ledger.once(order)
    await production.ledger.once(order)

    assert shops.clip.calls == 1
    assert await state_of(production, order.key) == "failed"
    costs = await table.costs(production.db, run)
    assert costs["reserved"] == costs["spent"] == 0


async def test_cancelled_before_the_call(production: Production, shops: Shops) -> None:
    """What a cancelled run reserved and did not order is given back, and never ordered."""
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    await production.ledger.reserve([order])
    await cancel(production, UUID(run), by="anna", channel="api", external_id="cancel")

    await production.ledger.place(order.key)

    assert shops.clip.calls == 0
    assert (await table.costs(production.db, run))["reserved"] == 0
    [said] = await events_of(production.db, run, "order.refused")
    assert said["payload"]["code"] == "cancelled"


async def test_settled_once(production: Production, shops: Shops) -> None:
    """The first result of an order counts; what is told later changes nothing."""
    run = await new_run(production.db)
    order = an_order(run, await approval(production.db, run))
    await production.ledger.once(order)

    first, second = await asyncio.gather(*(production.ledger.settle(order.key, {"digest": d}) for d in "ab"))

    assert first != second
    assert not await production.ledger.fail(order.key, "late", "Too late.")
    assert (await table.costs(production.db, run))["spent"] == order.amount_usd


async def test_first_answer_of_a_model_counts(production: Production) -> None:
    """Of two processes that asked a model for the same thing, both go on with the first answer."""
    run = await new_run(production.db)
    from agents.supervisor import Screening
    from providers.orders import Answer

    async def told(reason: str):
        return Answer(Screening(fits=True, reason=reason), 10, 10)

    async def late():
        await production.ledger.answer(f"{run}:screening", run, lambda: told("first"))
        return await told("second")

    answers = [await production.ledger.answer(f"{run}:screening", run, late) for _ in range(2)]

    assert [answer["reason"] for answer in answers] == ["first", "first"]


async def _failed(production: Production, run: str) -> None:
    """The run has failed, as it does when a clip is of unknown outcome."""
    await production.db.execute(
        'update runs set status = \'failed\', error = \'{"code": "clip_outcome_unknown", "retryable": true}\''
        " where id = %s",
        (run,),
    )


async def test_another_provider_is_not_asked_for_it(database_url: str, tmp_path: Path) -> None:
    """After the settings name somebody else, a render fails for a retry to order anew, and a clip is waited for."""
    before, after = Shops(), Shops(clip=Shop("other clips"), render=Shop("other renders"))
    async with opened(database_url, before, tmp_path) as old, opened(database_url, after, tmp_path) as new:
        run = await new_run(old.db)
        clip = an_order(run, await approval(old.db, run))
        render = an_order(run, None, kind="render", usd="0")
        later = an_order(run, None, kind="render", usd="0", take=2)
        await old.ledger.once(clip)
        await old.ledger.once(render)
        await old.ledger.reserve([later])

        for order in (clip, render, later):
            await collect(new, order.key)

        assert [await state_of(new, order.key) for order in (clip, render, later)] == [
            "submitted",
            "failed",
            "submitted",
        ]
        failed, moved = await new.ledger.row(render.key), await new.ledger.row(later.key)
        assert failed is not None
        assert (failed["result"] or {})["code"] == "renderer_changed"
        assert moved is not None
        assert (moved["provider"], after.render.calls, after.clip.calls) == ("other renders", 1, 0)
