"""An order is placed once, also under concurrency and after crashes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from agents.roles import Screening
from providers.orders import ModelAnswer, OrderKey
from runs.errors import OutcomeUnknown
from runs.reconcile import reconcile_order
from runs.run_requests import cancel_run, retry_run
from runs.services import Services
from storage import failpoints, ledger as ledger_module
from tests.ledger.fake_provider import (
    ANNA,
    FakeProvider,
    FakeProviders,
    ProcessKilled,
    approval,
    events_of,
    kill_at,
    new_order,
    new_run,
    open_services,
    request,
    retry_not_made,
    run_costs,
    state_of,
)


async def test_twenty_callers_of_two_processes_place_one_order(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path
) -> None:
    """Of twenty concurrent callers in two processes, one calls the provider."""
    async with (
        open_services(database_url, fake_providers, tmp_path) as one,
        open_services(database_url, fake_providers, tmp_path) as other,
    ):
        run = await new_run(one.db)
        order = new_order(run, await approval(one.db, run))

        await asyncio.gather(*(each.ledger.place_once(order) for each in (one, other) * 10))

        assert len(fake_providers.clip.charges) == 1
        assert await state_of(one, order.key) == "submitted"
        assert len(await events_of(one.db, run, "order.submitted")) == 1


async def test_only_clip_orders_have_clip_and_take(services: Services) -> None:
    """Number and attempt of a clip order are its clip and take."""
    run = await new_run(services.db)
    approved = await approval(services.db, run)
    orders = [new_order(run, approved, number=2, take=3, kind=kind) for kind in ("clip", "render")]

    await services.ledger.reserve(orders)

    clip, render = await services.ledger.list_for_run(run)
    assert (clip.run_id, clip.clip, clip.take) == (UUID(run), 2, 3)
    assert (render.run_id, render.clip, render.take) == (UUID(run), None, None)


async def test_order_with_a_lost_answer_is_found(services: Services, fake_providers: FakeProviders) -> None:
    """After a crash between the call and its answer the order is found by its prompt, and not placed again."""
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    async with kill_at("submit.after"):
        with pytest.raises(ProcessKilled):
            await services.ledger.place_once(order)
    assert await state_of(services, order.key) == "reserved"

    await services.ledger.place_once(order)
    await reconcile_order(services, str(order.key))

    assert await state_of(services, order.key) == "submitted"
    assert [charge.key for charge in fake_providers.clip.charges] == [str(order.key)]
    assert fake_providers.clip.calls == 1


async def test_second_candidate_is_a_duplicate_charge(services: Services, fake_providers: FakeProviders) -> None:
    """Of two matching tasks the older is bound, and the other is reported as a duplicate charge, once."""
    fake_providers.clip.behaviours = ["create_twice"]
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)

    await reconcile_order(services, str(order.key))
    await reconcile_order(services, str(order.key))

    row = await services.ledger.get(str(order.key))
    assert row is not None
    assert row.task_id == fake_providers.clip.charges[0].task_id
    duplicates = await events_of(services.db, run, "charge.duplicate")
    assert [each["payload"]["task_id"] for each in duplicates] == [fake_providers.clip.charges[1].task_id]
    assert fake_providers.clip.calls == 1


@pytest.mark.parametrize("cause", ["killed before the call", "no answer"])
async def test_order_that_is_not_found_has_an_unknown_outcome(
    services: Services, fake_providers: FakeProviders, cause: str
) -> None:
    """An order not found within the lookup window is unknown: only a person has it ordered again."""
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    if cause == "no answer":
        fake_providers.clip.behaviours = ["no_answer"]
        await services.ledger.place_once(order)
    else:
        async with kill_at("submit.before"):
            with pytest.raises(ProcessKilled):
                await services.ledger.place_once(order)
    await reconcile_order(services, str(order.key))
    assert await state_of(services, order.key) == "unknown"
    await _fail_run(services, run)

    for _ in range(2):
        with pytest.raises(OutcomeUnknown) as refused:
            await retry_run(services, UUID(run), context=request("first"))
    [lost] = refused.value.details["orders"]
    assert (lost["order"], lost["lookup_url"]) == (str(order.key), "the task list of clips")
    assert await state_of(services, order.key) == "unknown"
    await services.ledger.place_once(order)
    assert not fake_providers.clip.charges

    await retry_not_made(services, run, request("second"))
    await services.ledger.place_once(order)
    again = new_order(run, order.approval, take=2)
    await services.ledger.place_once(again)

    assert await state_of(services, order.key) == "failed"
    assert [charge.key for charge in fake_providers.clip.charges] == [str(again.key)]


async def test_order_is_not_unknown_within_the_lookup_window(services: Services, fake_providers: FakeProviders) -> None:
    """Within the provider's lookup window an order that is not found is not of unknown outcome."""
    fake_providers.clip.behaviours, fake_providers.clip.lookup_window = ["no_answer"], timedelta(minutes=1)
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)

    await reconcile_order(services, str(order.key))

    assert await state_of(services, order.key) == "reserved"


async def test_declaration_needs_the_code_of_the_evidence(services: Services, fake_providers: FakeProviders) -> None:
    """An order is declared not made with the code of what was shown: its price, and candidates without an order."""
    fake_providers.clip.behaviours = ["create", "create_without_answer"]
    run = await new_run(services.db)
    approved = await approval(services.db, run)
    bound, order = new_order(run, approved, number=2), new_order(run, approved)
    for each in (bound, order):
        await services.ledger.place_once(each)
    fake_providers.clip.hidden = {charge.task_id for charge in fake_providers.clip.charges}
    await reconcile_order(services, str(order.key))
    await _fail_run(services, run)

    async def retry(**options: Any) -> dict[str, Any]:
        with pytest.raises(OutcomeUnknown) as refused:
            await retry_run(services, UUID(run), context=ANNA, **options)
        assert await state_of(services, order.key) == "unknown"
        return refused.value.details

    before = await retry()
    assert (before["usd"], before["orders"][0]["candidates"]) == (1.0, [])
    fake_providers.clip.lists_candidates = True
    assert await retry(not_made=True, confirm="0" * 12) == await retry(not_made=True)
    # The code of other evidence: a candidate has appeared since.
    changed = await retry(not_made=True, confirm=before["confirm"])
    [candidate] = changed["orders"][0]["candidates"]
    assert candidate["task_id"] == fake_providers.clip.charges[1].task_id
    assert candidate["url"] == f"http://clips/{candidate['task_id']}"

    await retry_run(services, UUID(run), not_made=True, confirm=changed["confirm"], context=ANNA)
    assert await state_of(services, order.key) == "failed"


@pytest.mark.parametrize("finder", ["the sweeper", "the retry"])
async def test_unknown_order_is_found_late(services: Services, fake_providers: FakeProviders, finder: str) -> None:
    """An order of unknown outcome that is found late is bound; declaring it not made has no effect."""
    fake_providers.clip.behaviours = ["create_without_answer"]
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)
    fake_providers.clip.hidden = {fake_providers.clip.charges[0].task_id}
    await reconcile_order(services, str(order.key))
    assert await state_of(services, order.key) == "unknown"
    await _fail_run(services, run)
    fake_providers.clip.hidden = set()

    if finder == "the sweeper":
        await reconcile_order(services, str(order.key))
    else:
        await retry_run(services, UUID(run), not_made=True, context=request("first"))

    assert await state_of(services, order.key) == "submitted"
    assert fake_providers.clip.calls == 1


async def test_answer_after_the_order_was_declared_not_made(services: Services, fake_providers: FakeProviders) -> None:
    """A call that is answered after its order was declared not made is reported as a duplicate charge."""
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    submit = fake_providers.clip.submit

    async def slow(request, *, key):
        task_id = await submit(request, key=key)
        await services.ledger.mark_unknown(key)
        await services.ledger.declare_not_made(run, [key], ANNA)
        return task_id

    fake_providers.clip.submit = slow  # type: ignore[method-assign]  # wraps the method

    await services.ledger.place_once(order)

    assert await state_of(services, order.key) == "failed"
    [duplicate] = await events_of(services.db, run, "charge.duplicate")
    assert duplicate["payload"]["task_id"] == fake_providers.clip.charges[0].task_id


async def test_process_frozen_between_claim_and_call_does_not_call(
    services: Services, fake_providers: FakeProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was frozen after it claimed an order does not call: others may have handled the order."""
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    monkeypatch.setattr(ledger_module, "CLAIM_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(failpoints, "hook", lambda point: time.sleep(0.1) if point == "submit.before" else None)

    await services.ledger.place_once(order)

    assert fake_providers.clip.calls == 0
    monkeypatch.setattr(failpoints, "hook", None)
    await services.ledger.place(str(order.key))
    assert fake_providers.clip.calls == 1


async def test_order_that_never_arrives_fails(services: Services, fake_providers: FakeProviders) -> None:
    """An order that certainly did not arrive is placed again, for longer than it takes to request attention."""
    fake_providers.clip.behaviours = ["not_sent"] * 30
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))

    await services.ledger.place_once(order)
    for _ in range(19):
        await services.ledger.place(str(order.key))
    assert (fake_providers.clip.calls, await state_of(services, order.key)) == (20, "reserved")
    nearly = ledger_module.MAX_SUBMIT_ATTEMPTS - 2
    await services.db.execute("update orders set poll_count = %s where key = %s", (nearly, str(order.key)))
    for _ in range(5):
        await services.ledger.place(str(order.key))

    assert fake_providers.clip.calls == 22
    assert await state_of(services, order.key) == "failed"
    assert not fake_providers.clip.charges


async def test_refused_order_fails(services: Services, fake_providers: FakeProviders) -> None:
    """An order that the provider refuses fails, and its reservation is released."""
    fake_providers.clip.behaviours = ["refuse"]
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))

    await services.ledger.place_once(order)
    await services.ledger.place_once(order)

    assert fake_providers.clip.calls == 1
    assert await state_of(services, order.key) == "failed"
    costs = await run_costs(services.db, run)
    assert costs.reserved_usd == costs.spent_usd == 0


async def test_order_of_a_cancelled_run_is_not_placed(services: Services, fake_providers: FakeProviders) -> None:
    """What a cancelled run reserved and did not order is released, and never ordered."""
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    await services.ledger.reserve([order])
    await cancel_run(services, UUID(run), ANNA)

    await services.ledger.place(str(order.key))

    assert fake_providers.clip.calls == 0
    assert (await run_costs(services.db, run)).reserved_usd == 0
    [refused] = await events_of(services.db, run, "order.refused")
    assert refused["payload"]["code"] == "cancelled"


async def test_order_is_settled_once(services: Services, fake_providers: FakeProviders) -> None:
    """The first result of an order counts; later ones change nothing."""
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)

    first, second = await asyncio.gather(*(services.ledger.settle(str(order.key), {"digest": d}) for d in "ab"))

    assert first != second
    assert not await services.ledger.fail(str(order.key), "late", "Too late.")
    assert (await run_costs(services.db, run)).spent_usd == order.amount_usd


async def test_first_answer_of_a_model_counts(services: Services) -> None:
    """Two processes that request the same answer of a model both use the first one."""
    run = await new_run(services.db)
    key = OrderKey(run, "screening")

    async def answer(reason: str):
        return ModelAnswer(Screening(fits=True, reason=reason), 10, 10)

    async def late():
        await services.ledger.cached_answer(key, lambda: answer("first"))
        return await answer("second")

    answers = [await services.ledger.cached_answer(key, late) for _ in range(2)]

    assert [each["reason"] for each in answers] == ["first", "first"]


async def _fail_run(services: Services, run: str) -> None:
    """Let the run fail as it does when the outcome of a clip is unknown."""
    await services.db.execute(
        'update runs set status = \'failed\', error = \'{"code": "clip_outcome_unknown", "retryable": true}\''
        " where id = %s",
        (run,),
    )


async def test_changed_provider_is_not_polled(database_url: str, tmp_path: Path) -> None:
    """After the settings name another provider, a render is ordered there; a clip, which is paid, waits."""
    before, after = (
        FakeProviders(),
        FakeProviders(clip=FakeProvider("other clips"), render=FakeProvider("other renders")),
    )
    async with (
        open_services(database_url, before, tmp_path) as old,
        open_services(database_url, after, tmp_path) as new,
    ):
        run = await new_run(old.db)
        clip = new_order(run, await approval(old.db, run))
        render = new_order(run, None, kind="render", usd="0")
        later = new_order(run, None, kind="render", usd="0", take=2)
        await old.ledger.place_once(clip)
        await old.ledger.place_once(render)
        await old.ledger.reserve([later])

        for order in (clip, render, later):
            await reconcile_order(new, str(order.key))

        assert [await state_of(new, order.key) for order in (clip, render, later)] == ["submitted"] * 3
        for order in (render, later):
            moved = await new.ledger.get(str(order.key))
            assert moved is not None
            assert moved.provider == "other renders"
        assert (after.render.calls, after.clip.calls) == (2, 0)
        after.render.finish(after.render.charges[0].task_id)
        await reconcile_order(new, str(render.key))
        assert await state_of(new, render.key) == "settled"
