"""A scheduled publication is placed from its time on, once, by whichever process is there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from runs.reconcile import reconcile_order
from runs.run_requests import cancel_run
from runs.services import Services
from tests.ledger.fake_provider import (
    ANNA,
    FakeProviders,
    ProcessKilled,
    approval,
    kill_at,
    new_order,
    new_run,
    open_services,
    state_of,
)

TOMORROW = datetime.now(UTC) + timedelta(days=1)
MAKE_DUE = "update orders set next_poll_at = now(), request = jsonb_set(request, '{publish_at}', to_jsonb(now()))"


async def schedule(services: Services) -> str:
    """Reserve a publication for tomorrow, and return its key."""
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run, "publish"), kind="publication", usd="0")
    order = replace(order, request={**order.request, "publish_at": TOMORROW.isoformat()})
    await services.ledger.place_once(order)
    return str(order.key)


async def test_it_is_placed_once_from_its_time_on(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path
) -> None:
    """Before, no process places it; then one of two does, and one that is killed in its call is not repeated."""
    async with (
        open_services(database_url, fake_providers, tmp_path) as one,
        open_services(database_url, fake_providers, tmp_path) as other,
    ):
        key, publisher = await schedule(one), fake_providers.publication
        for services in (one, other):
            await services.db.execute("update orders set next_poll_at = now()")
            assert await services.ledger.claim_due(10, renders=False) == [key]
            await reconcile_order(services, key)
            row = await services.ledger.get(key)
            assert row is not None
            assert (row.state, row.called_at, row.next_poll_at) == ("reserved", None, TOMORROW)
            assert await services.ledger.claim_due(10, renders=False) == []
        assert publisher.calls == 0

        await one.db.execute(MAKE_DUE)
        async with kill_at("submit.after"):
            with pytest.raises(ProcessKilled):
                await reconcile_order(one, key)
        await asyncio.gather(*(reconcile_order(services, key) for services in (one, other) * 5))
        assert (len(publisher.charges), await state_of(one, key)) == (1, "submitted")


async def test_cancelling_releases_it(services: Services, fake_providers: FakeProviders) -> None:
    """The order is due at once to be closed, and its time changes nothing then."""
    key = await schedule(services)
    await cancel_run(services, UUID(key.partition(":")[0]), ANNA)
    assert await services.ledger.claim_due(10, renders=False) == [key]
    await reconcile_order(services, key)
    assert await state_of(services, key) == "failed"

    await services.db.execute(MAKE_DUE)
    await reconcile_order(services, key)
    assert (await state_of(services, key), fake_providers.publication.calls) == ("failed", 0)
