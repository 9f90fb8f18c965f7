"""What never comes to an end, cannot be asked for, or is charged for and cannot be had: nobody pays for it twice."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from graph.nodes.orders import StepFailed
from graph.nodes.publication import await_publication
from providers.base import Failed, NotFound, Pending, Succeeded, Unavailable
from runs.errors import OutcomeUnknown
from runs.reconcile import reconcile_order
from runs.retry import retry_run
from runs.run_feedback import RunFeedback
from runs.services import Services
from storage import runs as table
from tests.ledger.fake_provider import (
    FakeProvider,
    FakeProviders,
    an_order,
    approval,
    events_of,
    new_run,
    opened,
    state_of,
)

LONG = "25 hours"


async def _placed(services: Services, kind: str = "clip", *, ago: str = "0 hours") -> str:
    """The key of an order that was placed so long ago."""
    run = await new_run(services.db)
    approved = await approval(services.db, run, "publish" if kind == "publication" else "ideation")
    order = an_order(run, None if kind == "render" else approved, kind=kind, usd="1" if kind == "clip" else "0")
    await services.ledger.place_once(order)
    await _ago(services, order.key, ago)
    return order.key


async def _ago(services: Services, key: str, ago: str) -> None:
    await services.db.execute(
        "update orders set created_at = created_at - %(ago)s::interval, called_at = called_at - %(ago)s::interval,"
        " submitted_at = submitted_at - %(ago)s::interval, missing_since = missing_since - %(ago)s::interval"
        " where key = %(key)s",
        {"ago": ago, "key": key},
    )


async def _failed(services: Services, key: str) -> UUID:
    """The run of this order has failed, and waits for a person."""
    run_id = UUID(key.split(":")[0])
    error = '{"code": "outcome_unknown", "retryable": true}'
    await services.db.execute("update runs set status = 'failed', error = %s where id = %s", (error, run_id))
    return run_id


@pytest.mark.parametrize("kind", ["clip", "publication"])
@pytest.mark.parametrize("trouble", ["away", "pending", "missing"])
async def test_what_was_taken_and_never_ends_is_for_a_person(
    services: Services, fake_providers: FakeProviders, kind: str, trouble: str
) -> None:
    """It is not called failed, which would have it ordered again; and what comes of it late still counts."""
    shop: FakeProvider = getattr(fake_providers, kind)
    key = await _placed(services, kind, ago=LONG)
    (sale,) = shop.sales
    shop.away = trouble == "away"
    if trouble == "missing":
        shop.fates = {sale.task_id: NotFound()}
        await reconcile_order(services, key)
        assert await state_of(services, key) == "submitted"  # it was there a moment ago
        await _ago(services, key, "6 minutes")
    await reconcile_order(services, key)
    assert await state_of(services, key) == "unknown"

    run_id, how = await _failed(services, key), {"by": "anna", "channel": "api"}
    with pytest.raises(OutcomeUnknown):
        await retry_run(services, run_id, external_id="plain", **how)
    assert len(shop.sales) == 1

    shop.away = False
    shop.fates = {sale.task_id: Succeeded(facts={"seconds": 3.0})}
    await reconcile_order(services, key)
    assert await state_of(services, key) == "settled"
    await retry_run(services, run_id, external_id="late", **how)
    assert len(shop.sales) == 1


@pytest.mark.parametrize("trouble", ["away", "pending", "missing"])
async def test_a_while_is_waited_for(services: Services, fake_providers: FakeProviders, trouble: str) -> None:
    """One bad look is nothing, however long ago it was placed."""
    key = await _placed(services, ago="10 hours")
    fake_providers.clip.away = trouble == "away"
    fake_providers.clip.fates = {
        fake_providers.clip.sales[0].task_id: NotFound() if trouble == "missing" else Pending(0.5)
    }
    await reconcile_order(services, key)

    assert await state_of(services, key) == "submitted"


async def test_what_turns_out_to_be_in_the_making_is_not_ordered_again(
    services: Services, fake_providers: FakeProviders
) -> None:
    """Not even on a person's word: the vendor was asked once more, and said that it is at it."""
    key = await _placed(services)
    (sale,) = fake_providers.clip.sales
    await services.ledger.mark_unknown(key)
    fake_providers.clip.fates = {sale.task_id: Pending(0.6)}
    run_id = await _failed(services, key)
    await retry_run(services, run_id, not_made=True, by="anna", channel="api", external_id="hasty")
    assert await state_of(services, key) == "submitted"

    fake_providers.clip.fates = {sale.task_id: Succeeded(facts={"seconds": 3.0})}
    await reconcile_order(services, key)
    assert await state_of(services, key) == "settled"
    assert len(fake_providers.clip.sales) == 1


async def test_a_share_that_stands_still_is_no_progress(services: Services, fake_providers: FakeProviders) -> None:
    """A third comes back from the database with fewer digits than it went in with."""
    key = await _placed(services, "publication", ago=LONG)
    fake_providers.publication.fates = {fake_providers.publication.sales[0].task_id: Pending(1 / 3)}
    await reconcile_order(services, key)
    assert await state_of(services, key) == "submitted"
    await reconcile_order(services, key)

    assert await state_of(services, key) == "unknown"


async def test_orders_from_before_providers_had_a_place_in_their_names(database_url: str, tmp_path: Path) -> None:
    """They go on with whoever the settings name."""
    before, after = FakeProviders(clip=FakeProvider("clips")), FakeProviders(clip=FakeProvider("clips:here"))
    async with opened(database_url, before, tmp_path) as old, opened(database_url, after, tmp_path) as new:
        key = await _placed(old)
        after.clip.sales = before.clip.sales
        await new.ledger.adopt()
        after.clip.deliver(before.clip.sales[0].task_id)
        await reconcile_order(new, key)

        assert await state_of(new, key) == "settled"


async def test_a_retry_counts_for_what_failed_before_it(services: Services, fake_providers: FakeProviders) -> None:
    """The post was found after a retry; when it is lost once more later, nobody has asked for another."""
    inbox = RunFeedback(services.db)
    key = await _placed(services, "publication")
    run = key.split(":")[0]
    state: Any = {"run": {"id": run}, "publication": {"key": key, "attempt": 1, "facts": {}, "failed": False}}
    deps: Any = SimpleNamespace(ledger=services.ledger, feedback=inbox)
    await services.ledger.mark_unknown(key)
    await _failed(services, key)
    fake_providers.publication.fates = {fake_providers.publication.sales[0].task_id: Pending()}
    await retry_run(services, UUID(run), by="anna", channel="api", external_id="found")
    await services.ledger.mark_unknown(key)

    with pytest.raises(StepFailed) as asked:
        await await_publication(state, deps=deps)
    assert asked.value.code == "publication_unconfirmed"
    await services.ledger.fail(key, "declared_not_made", "Somebody says so.")
    with pytest.raises(StepFailed):
        await await_publication(state, deps=deps)
    await _failed(services, key)
    await retry_run(services, UUID(run), by="anna", channel="api", external_id="again")
    assert (await await_publication(state, deps=deps))["publication"]["failed"] is True


async def test_a_render_that_never_ends_is_made_anew(services: Services, fake_providers: FakeProviders) -> None:
    """It costs nothing."""
    key = await _placed(services, "render", ago=LONG)
    await reconcile_order(services, key)

    assert await state_of(services, key) == "failed"


async def test_what_cannot_be_looked_for_is_for_a_person_in_the_end(
    services: Services, fake_providers: FakeProviders
) -> None:
    """A provider that is gone keeps no run waiting for ever, and a person's word waits until it was asked again."""
    fake_providers.clip.behaviours, fake_providers.clip.away = ["sells_and_is_silent"], True
    key = await _placed(services)
    await reconcile_order(services, key)
    assert await state_of(services, key) == "reserved"
    await _ago(services, key, LONG)
    await reconcile_order(services, key)
    assert await state_of(services, key) == "unknown"

    await services.db.execute("update orders set called_at = now() - interval '1 hour' where key = %s", (key,))
    run_id, how = await _failed(services, key), {"by": "anna", "channel": "api", "not_made": True}
    with pytest.raises(Unavailable):
        await retry_run(services, run_id, external_id="away", **how)
    assert await state_of(services, key) == "unknown"
    fake_providers.clip.away = False
    await retry_run(services, run_id, external_id="back", **how)
    assert await state_of(services, key) == "submitted"
    assert len(fake_providers.clip.sales) == 1


async def test_whoever_is_gone_for_a_day_is_taken_at_the_persons_word(
    services: Services, fake_providers: FakeProviders
) -> None:
    """Otherwise the run could only be cancelled."""
    fake_providers.clip.behaviours, fake_providers.clip.away = ["silent"], True
    key = await _placed(services)
    await _ago(services, key, LONG)
    await reconcile_order(services, key)
    run_id = await _failed(services, key)
    await retry_run(services, run_id, not_made=True, by="anna", channel="api", external_id="gone")

    assert await state_of(services, key) == "failed"


async def test_only_what_the_person_could_see_is_not_made(services: Services, fake_providers: FakeProviders) -> None:
    """An order that became unknown since is not closed by a word that was given before."""
    fake_providers.clip.behaviours = ["silent", "silent"]
    key = await _placed(services)
    await reconcile_order(services, key)
    run_id = await _failed(services, key)
    later = an_order(str(run_id), await approval(services.db, str(run_id), revision=2), number=2)
    await services.ledger.place_once(later)
    await services.ledger.mark_unknown(later.key)
    await services.ledger.declare_not_made(run_id, [key], by="anna", channel="api")

    assert [await state_of(services, each) for each in (key, later.key)] == ["failed", "unknown"]


async def test_what_was_charged_for_is_spent(services: Services, fake_providers: FakeProviders) -> None:
    """A clip that was made and cannot be had counts under the cap, and in what the run costs."""
    run = await new_run(services.db, cap="1.50")
    approved = await approval(services.db, run)
    first, second = an_order(run, approved), an_order(run, approved, take=2)
    await services.ledger.place_once(first)
    fake_providers.clip.fates = {
        fake_providers.clip.sales[0].task_id: Failed("video_expired", "It is gone.", charged=True)
    }
    await reconcile_order(services, first.key)
    await services.ledger.place_once(second)

    assert await state_of(services, first.key) == "failed"
    assert (await table.run_costs(services.db, run)) == {"reserved": Decimal(0), "spent": Decimal(1)}
    (refused,) = await events_of(services.db, run, "order.refused")
    assert refused["payload"]["code"] == "budget_exceeded"
    assert len(fake_providers.clip.sales) == 1


async def test_another_server_is_not_asked_for_what_the_first_one_took(database_url: str, tmp_path: Path) -> None:
    """Not even where it is one of the same kind; after a day a person has to say what became of it."""
    before, after = FakeProviders(), FakeProviders(clip=FakeProvider("clips elsewhere"))
    async with opened(database_url, before, tmp_path) as old, opened(database_url, after, tmp_path) as new:
        key = await _placed(old)
        await reconcile_order(new, key)
        assert await state_of(new, key) == "submitted"
        await _ago(new, key, LONG)
        await reconcile_order(new, key)
        assert await state_of(new, key) == "unknown"
        run_id = await _failed(new, key)
        await retry_run(new, run_id, not_made=True, by="anna", channel="api", external_id="moved")

    assert (before.clip.calls, after.clip.calls) == (1, 0)
