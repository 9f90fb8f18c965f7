"""What never comes to an end, cannot be asked for, or is charged for and cannot be had: nobody pays for it twice."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from graph.nodes.publication import await_publication
from graph.nodes.waiting import StepFailed
from providers.base import Done, Failed, Missing, Pending, Unavailable
from runs.collect import collect
from runs.control import retry
from runs.errors import OutcomeUnknown
from runs.inbox import PostgresInbox
from runs.production import Production
from storage import runs as table
from tests.ledger.shop import Shop, Shops, an_order, approval, events_of, new_run, opened, state_of

LONG = "25 hours"


async def _placed(production: Production, kind: str = "clip", *, ago: str = "0 hours") -> str:
    """The key of an order that was placed so long ago."""
    run = await new_run(production.db)
    approved = await approval(production.db, run, "publish" if kind == "publication" else "ideation")
    order = an_order(run, None if kind == "render" else approved, kind=kind, usd="1" if kind == "clip" else "0")
    await production.ledger.once(order)
    await _ago(production, order.key, ago)
    return order.key


async def _ago(production: Production, key: str, ago: str) -> None:
    await production.db.execute(
        "update orders set created_at = created_at - %(ago)s::interval, called_at = called_at - %(ago)s::interval,"
        " submitted_at = submitted_at - %(ago)s::interval, missing_since = missing_since - %(ago)s::interval"
        " where key = %(key)s",
        {"ago": ago, "key": key},
    )


async def _failed(production: Production, key: str) -> UUID:
    """The run of this order has failed, and waits for a person."""
    run_id = UUID(key.split(":")[0])
    error = '{"code": "outcome_unknown", "retryable": true}'
    await production.db.execute("update runs set status = 'failed', error = %s where id = %s", (error, run_id))
    return run_id


@pytest.mark.parametrize("kind", ["clip", "publication"])
@pytest.mark.parametrize("trouble", ["away", "pending", "missing"])
async def test_what_was_taken_and_never_ends_is_for_a_person(
    production: Production, shops: Shops, kind: str, trouble: str
) -> None:
    """It is not called failed, which would have it ordered again; and what comes of it late still counts."""
    shop: Shop = getattr(shops, kind)
    key = await _placed(production, kind, ago=LONG)
    (sale,) = shop.sales
    shop.away = trouble == "away"
    if trouble == "missing":
        shop.fates = {sale.task_id: Missing()}
        await collect(production, key)
        assert await state_of(production, key) == "submitted"  # it was there a moment ago
        await _ago(production, key, "6 minutes")
    await collect(production, key)
    assert await state_of(production, key) == "unknown"

    run_id, how = await _failed(production, key), {"by": "anna", "channel": "api"}
    with pytest.raises(OutcomeUnknown):
        await retry(production, run_id, external_id="plain", **how)
    assert len(shop.sales) == 1

    shop.away = False
    shop.fates = {sale.task_id: Done(facts={"seconds": 3.0})}
    await collect(production, key)
    assert await state_of(production, key) == "settled"
    await retry(production, run_id, external_id="late", **how)
    assert len(shop.sales) == 1


@pytest.mark.parametrize("trouble", ["away", "pending", "missing"])
async def test_a_while_is_waited_for(production: Production, shops: Shops, trouble: str) -> None:
    """One bad look is nothing, however long ago it was placed."""
    key = await _placed(production, ago="10 hours")
    shops.clip.away = trouble == "away"
    shops.clip.fates = {shops.clip.sales[0].task_id: Missing() if trouble == "missing" else Pending(0.5)}
    await collect(production, key)

    assert await state_of(production, key) == "submitted"


async def test_what_turns_out_to_be_in_the_making_is_not_ordered_again(production: Production, shops: Shops) -> None:
    """Not even on a person's word: the vendor was asked once more, and said that it is at it."""
    key = await _placed(production)
    (sale,) = shops.clip.sales
    await production.ledger.lose(key)
    shops.clip.fates = {sale.task_id: Pending(0.6)}
    run_id = await _failed(production, key)
    await retry(production, run_id, not_made=True, by="anna", channel="api", external_id="hasty")
    assert await state_of(production, key) == "submitted"

    shops.clip.fates = {sale.task_id: Done(facts={"seconds": 3.0})}
    await collect(production, key)
    assert await state_of(production, key) == "settled"
    assert len(shops.clip.sales) == 1


async def test_a_share_that_stands_still_is_no_progress(production: Production, shops: Shops) -> None:
    """A third comes back from the database with fewer digits than it went in with."""
    key = await _placed(production, "publication", ago=LONG)
    shops.publication.fates = {shops.publication.sales[0].task_id: Pending(1 / 3)}
    await collect(production, key)
    assert await state_of(production, key) == "submitted"
    await collect(production, key)

    assert await state_of(production, key) == "unknown"


async def test_orders_from_before_providers_had_a_place_in_their_names(database_url: str, tmp_path: Path) -> None:
    """They go on with whoever the settings name."""
    before, after = Shops(clip=Shop("clips")), Shops(clip=Shop("clips:here"))
    async with opened(database_url, before, tmp_path) as old, opened(database_url, after, tmp_path) as new:
        key = await _placed(old)
        after.clip.sales = before.clip.sales
        await new.ledger.adopt()
        after.clip.deliver(before.clip.sales[0].task_id)
        await collect(new, key)

        assert await state_of(new, key) == "settled"


async def test_a_retry_counts_for_what_failed_before_it(production: Production, shops: Shops) -> None:
    """The post was found after a retry; when it is lost once more later, nobody has asked for another."""
    inbox = PostgresInbox(production.db)
    key = await _placed(production, "publication")
    run = key.split(":")[0]
    state: Any = {"run": {"id": run}, "publication": {"key": key, "attempt": 1, "facts": {}, "failed": False}}
    ports: Any = SimpleNamespace(ledger=production.ledger, inbox=inbox)
    await production.ledger.lose(key)
    await _failed(production, key)
    shops.publication.fates = {shops.publication.sales[0].task_id: Pending()}
    await retry(production, UUID(run), by="anna", channel="api", external_id="found")
    await production.ledger.lose(key)

    with pytest.raises(StepFailed) as asked:
        await await_publication(state, ports=ports)
    assert asked.value.code == "publication_unconfirmed"
    await production.ledger.fail(key, "declared_not_made", "Somebody says so.")
    with pytest.raises(StepFailed):
        await await_publication(state, ports=ports)
    await _failed(production, key)
    await retry(production, UUID(run), by="anna", channel="api", external_id="again")
    assert (await await_publication(state, ports=ports))["publication"]["failed"] is True


async def test_a_render_that_never_ends_is_made_anew(production: Production, shops: Shops) -> None:
    """It costs nothing."""
    key = await _placed(production, "render", ago=LONG)
    await collect(production, key)

    assert await state_of(production, key) == "failed"


async def test_what_cannot_be_looked_for_is_for_a_person_in_the_end(production: Production, shops: Shops) -> None:
    """A provider that is gone keeps no run waiting for ever, and a person's word waits until it was asked again."""
    shops.clip.moods, shops.clip.away = ["sells_and_is_silent"], True
    key = await _placed(production)
    await collect(production, key)
    assert await state_of(production, key) == "reserved"
    await _ago(production, key, LONG)
    await collect(production, key)
    assert await state_of(production, key) == "unknown"

    await production.db.execute("update orders set called_at = now() - interval '1 hour' where key = %s", (key,))
    run_id, how = await _failed(production, key), {"by": "anna", "channel": "api", "not_made": True}
    with pytest.raises(Unavailable):
        await retry(production, run_id, external_id="away", **how)
    assert await state_of(production, key) == "unknown"
    shops.clip.away = False
    await retry(production, run_id, external_id="back", **how)
    assert await state_of(production, key) == "submitted"
    assert len(shops.clip.sales) == 1


async def test_whoever_is_gone_for_a_day_is_taken_at_the_persons_word(production: Production, shops: Shops) -> None:
    """Otherwise the run could only be cancelled."""
    shops.clip.moods, shops.clip.away = ["silent"], True
    key = await _placed(production)
    await _ago(production, key, LONG)
    await collect(production, key)
    run_id = await _failed(production, key)
    await retry(production, run_id, not_made=True, by="anna", channel="api", external_id="gone")

    assert await state_of(production, key) == "failed"


async def test_only_what_the_person_could_see_is_not_made(production: Production, shops: Shops) -> None:
    """An order that became unknown since is not closed by a word that was given before."""
    shops.clip.moods = ["silent", "silent"]
    key = await _placed(production)
    await collect(production, key)
    run_id = await _failed(production, key)
    later = an_order(str(run_id), await approval(production.db, str(run_id), revision=2), number=2)
    await production.ledger.once(later)
    await production.ledger.lose(later.key)
    await production.ledger.declare_not_made(run_id, [key], by="anna", channel="api")

    assert [await state_of(production, each) for each in (key, later.key)] == ["failed", "unknown"]


async def test_what_was_charged_for_is_spent(production: Production, shops: Shops) -> None:
    """A clip that was made and cannot be had counts under the cap, and in what the run costs."""
    run = await new_run(production.db, cap="1.50")
    approved = await approval(production.db, run)
    first, second = an_order(run, approved), an_order(run, approved, take=2)
    await production.ledger.once(first)
    shops.clip.fates = {shops.clip.sales[0].task_id: Failed("video_expired", "It is gone.", charged=True)}
    await collect(production, first.key)
    await production.ledger.once(second)

    assert await state_of(production, first.key) == "failed"
    assert (await table.costs(production.db, run)) == {"reserved": Decimal(0), "spent": Decimal(1)}
    (refused,) = await events_of(production.db, run, "order.refused")
    assert refused["payload"]["code"] == "budget_exceeded"
    assert len(shops.clip.sales) == 1


async def test_another_server_is_not_asked_for_what_the_first_one_took(database_url: str, tmp_path: Path) -> None:
    """Not even where it is one of the same kind; after a day a person has to say what became of it."""
    before, after = Shops(), Shops(clip=Shop("clips elsewhere"))
    async with opened(database_url, before, tmp_path) as old, opened(database_url, after, tmp_path) as new:
        key = await _placed(old)
        await collect(new, key)
        assert await state_of(new, key) == "submitted"
        await _ago(new, key, LONG)
        await collect(new, key)
        assert await state_of(new, key) == "unknown"
        run_id = await _failed(new, key)
        await retry(new, run_id, not_made=True, by="anna", channel="api", external_id="moved")

    assert (before.clip.calls, after.clip.calls) == (1, 0)
