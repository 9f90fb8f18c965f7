"""The sum of reserved and spent amounts never exceeds a cap, under any concurrency."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from providers.orders import Order
from runs.services import Services
from storage.admission import Caps
from tests.ledger.fake_provider import (
    FakeProviders,
    approval,
    events_of,
    new_order,
    new_run,
    open_services,
    run_costs,
    state_of,
)

MONEY = st.integers(1, 8)
BATCHES = st.lists(
    st.tuples(st.integers(0, 2), st.lists(MONEY, min_size=1, max_size=3)),
    min_size=2,
    max_size=10,
)

COMMITTED = """
select coalesce(sum(coalesce(spent_usd, amount_usd)) filter (where state <> 'failed'), 0) as usd
from orders join runs on runs.id = orders.run_id where (%(run)s::uuid is null or orders.run_id = %(run)s::uuid)
    and (%(project)s::text is null or project = %(project)s)
"""


# Runs 0 and 1 belong to the project with a cap, run 2 to another one.
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=BATCHES, run_cap=st.integers(4, 14), project_cap=st.integers(4, 18), day_cap=st.integers(4, 24))
@pytest.mark.slow
def test_no_cap_is_ever_exceeded(
    database_url: str, tmp_path: Path, batches: Any, run_cap: int, project_cap: int, day_cap: int
) -> None:
    """Two processes reserve orders concurrently: no sum exceeds a cap, nothing that fits is refused, and of the
    orders of one reservation all are reserved or none."""
    caps = Caps(day_usd=Decimal(day_cap), project_day_usd={"trio": Decimal(project_cap)})

    async def reserve_all() -> None:
        async with (
            open_services(database_url, FakeProviders(), tmp_path, caps=caps) as one,
            open_services(database_url, FakeProviders(), tmp_path, caps=caps) as other,
        ):
            await one.db.execute("delete from orders")
            runs = [await new_run(one.db, cap=str(run_cap), project=p) for p in ("trio", "trio", "other")]
            approved = [await approval(one.db, run) for run in runs]
            orders = [
                [
                    new_order(runs[which], approved[which], number=number * 10 + position, usd=str(usd))
                    for position, usd in enumerate(amounts)
                ]
                for number, (which, amounts) in enumerate(batches)
            ]

            async def reserve(number: int, batch: list[Order]) -> None:
                ledger = (one, other)[number % 2].ledger
                await ledger.reserve(batch)
                if number % 3 == 0:
                    await ledger.place(str(batch[0].key))
                    await ledger.settle(str(batch[0].key), {})

            await asyncio.gather(*(reserve(*each) for each in enumerate(orders)))

            sums = {run: await _committed(one, run=run) for run in runs}
            project, day = await _committed(one, project="trio"), await _committed(one)
            assert all(usd <= run_cap for usd in sums.values())
            assert project <= project_cap
            assert day <= day_cap
            for (which, amounts), batch in zip(batches, orders, strict=True):
                states = {await state_of(one, order.key) for order in batch}
                assert states <= {"reserved", "submitted", "settled"} or states == {"failed"}
                if states == {"failed"}:
                    total = sum(amounts)
                    full = sums[runs[which]] + total > run_cap or day + total > day_cap
                    assert full or (which < 2 and project + total > project_cap)

    asyncio.run(reserve_all())


async def _committed(services: Services, *, run: str | None = None, project: str | None = None) -> Decimal:
    row = await services.db.fetch_one(COMMITTED, {"run": run, "project": project})
    assert row is not None
    usd: Decimal = row["usd"]
    return usd


@pytest.mark.parametrize(
    ("cap", "project_cap", "day_cap", "named"),
    [
        ("1.50", "100", "100", "the run's cap of 1.50 USD"),
        ("100", "1.50", "100", "the day's cap of project trio (UTC) of 1.50 USD"),
        ("100", "100", "1.50", "the day's cap (UTC) of 1.50 USD"),
    ],
)
async def test_refused_reservation_is_final(
    database_url: str,
    fake_providers: FakeProviders,
    tmp_path: Path,
    cap: str,
    project_cap: str,
    day_cap: str,
    named: str,
) -> None:
    """A refused reservation is final: it names the cap, and is never placed, even when there is room later."""
    caps = Caps(day_usd=Decimal(day_cap), project_day_usd={"trio": Decimal(project_cap)})
    async with open_services(database_url, fake_providers, tmp_path, caps=caps) as services:
        run = await new_run(services.db, cap=cap)
        approved = await approval(services.db, run)
        orders = [new_order(run, approved, number=number) for number in (1, 2)]

        await services.ledger.reserve(orders)
        assert {await state_of(services, order.key) for order in orders} == {"failed"}
        services.ledger.caps = Caps(day_usd=Decimal(1000))
        await services.db.execute("update runs set cap_usd = 1000")
        for order in orders * 3:
            await services.ledger.place_once(order)

        assert fake_providers.clip.calls == 0
        assert await services.ledger.claim_due(10, renders=False) == []
        refused = await events_of(services.db, run, "order.refused")
        assert [event["payload"]["code"] for event in refused] == ["budget_exceeded"] * 2
        assert named in refused[0]["payload"]["message"]
        assert (await run_costs(services.db, run)).reserved_usd == 0


async def test_failed_order_releases_its_amount(services: Services, fake_providers: FakeProviders) -> None:
    """A failed order costs nothing and leaves room for others; an order of unknown outcome keeps its reservation."""
    run = await new_run(services.db, cap="1.00")
    approved = await approval(services.db, run)
    first, second, third = (new_order(run, approved, number=number) for number in (1, 2, 3))
    await services.ledger.place_once(first)
    await services.ledger.fail(str(first.key), "generation_failed", "It went wrong.")

    await services.ledger.place_once(second)
    await services.db.execute("update orders set state = 'unknown' where key = %s", (str(second.key),))
    await services.ledger.place_once(third)

    assert await state_of(services, third.key) == "failed"
    assert len(fake_providers.clip.charges) == 2


async def test_orders_of_yesterday_count_for_the_run_only(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path
) -> None:
    """The caps of a day are reset at midnight UTC; the cap of a run is not."""
    caps = Caps(day_usd=Decimal(1), project_day_usd={"trio": Decimal(1)})
    async with open_services(database_url, fake_providers, tmp_path, caps=caps) as services:
        run = await new_run(services.db, cap="2.00")
        approved = await approval(services.db, run)
        first, second, third = (new_order(run, approved, number=number) for number in (1, 2, 3))
        await services.ledger.place_once(first)
        await services.db.execute(
            "update orders set created_at = date_trunc('day', now() at time zone 'utc') at time zone 'utc'"
            " - interval '1 second'"
        )

        await services.ledger.place_once(second)
        await services.db.execute("update orders set created_at = created_at - interval '1 day'")
        await services.ledger.place_once(third)

        assert await state_of(services, second.key) == "submitted"
        [refused] = await events_of(services.db, run, "order.refused")
        assert "the run's cap" in refused["payload"]["message"]
