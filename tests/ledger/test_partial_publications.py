"""A publication is posted again only where it certainly was not posted, and only by the publisher that was approved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from providers.base import Unconfirmed
from providers.orders import OrderKey
from providers.results import Succeeded
from runs.errors import OutcomeUnknown
from runs.queries import get_run
from runs.reconcile import reconcile_order
from runs.run_requests import retry_run
from runs.services import Services
from tests.ledger.fake_provider import (
    FakeProvider,
    FakeProviders,
    approval,
    events_of,
    new_order,
    new_run,
    request,
    state_of,
)

PLATFORMS = ["tiktok", "youtube", "x"]
MIXED = {"platforms": {"x": {"url": "http://x/1"}}, "failed": {"tiktok": "Banned."}, "unconfirmed": ["youtube"]}
SILENT = {"platforms": {}, "unconfirmed": PLATFORMS}


async def place(services: Services, provider: str = "") -> str:
    """Place a publication and return its key."""
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run, "publish"), kind="publication", usd="0")
    order = replace(order, request={**order.request, "platforms": PLATFORMS}, provider=provider)
    await services.ledger.place_once(order)
    return str(order.key)


async def leave_unconfirmed(services: Services, fake_providers: FakeProviders, facts: dict[str, Any]) -> str:
    """Place a publication of which the publisher reports no more than these facts; return its key."""
    key = await place(services)
    task_id = fake_providers.publication.charges[0].task_id
    fake_providers.publication.results = {task_id: Unconfirmed("publication_unconfirmed", "No word.", facts)}
    await reconcile_order(services, key)
    assert await state_of(services, key) == "submitted"
    await services.db.execute("update orders set missing_since = now() - interval '6 minutes'")
    await reconcile_order(services, key)
    assert await state_of(services, key) == "unknown"
    error = '{"code": "publication_unconfirmed", "retryable": true}'
    await services.db.execute("update runs set status = 'failed', error = %s", (error,))
    return key


async def test_an_unconfirmed_publication_keeps_what_is_known(
    services: Services, fake_providers: FakeProviders
) -> None:
    """It becomes unknown after some minutes, and the word of a platform that comes later counts."""
    key = await leave_unconfirmed(services, fake_providers, MIXED)
    assert (await services.ledger.statuses([key]))[key].result == MIXED

    facts = {"platforms": {name: {"url": None} for name in PLATFORMS}}
    fake_providers.publication.results = {fake_providers.publication.charges[0].task_id: Succeeded(facts=facts)}
    await reconcile_order(services, key)
    assert (await services.ledger.statuses([key]))[key].result == facts
    assert len(fake_providers.publication.charges) == 1


async def test_a_retry_needs_no_assurance_for_platforms_that_failed(
    services: Services, fake_providers: FakeProviders
) -> None:
    """It leaves the others unknown; only a person's assurance declares them as not made, and keeps the posts."""
    key = await leave_unconfirmed(services, fake_providers, MIXED)
    run_id = UUID(OrderKey.parse(key).run_id)
    await retry_run(services, run_id, context=request("failed only"))
    assert await state_of(services, key) == "unknown"

    await services.db.execute("update runs set status = 'failed', error = '{\"retryable\": true}'")
    with pytest.raises(OutcomeUnknown) as refused:
        await retry_run(services, run_id, not_made=True, context=request("all"))
    confirm = refused.value.details["confirm"]
    await retry_run(services, run_id, not_made=True, confirm=confirm, context=request("all"))
    status = (await services.ledger.statuses([key]))[key]
    assert (status.state, status.result["code"]) == ("failed", "declared_not_made")
    assert status.result["platforms"] == MIXED["platforms"]


async def test_a_retry_without_any_failure_needs_the_assurance(
    services: Services, fake_providers: FakeProviders
) -> None:
    """Where no platform failed by its own word there is nothing to post again."""
    key = await leave_unconfirmed(services, fake_providers, SILENT)
    with pytest.raises(OutcomeUnknown):
        await retry_run(services, UUID(OrderKey.parse(key).run_id), context=request("failed only"))

    assert (await get_run(services.db, UUID(OrderKey.parse(key).run_id))).status == "failed"


async def test_a_publication_is_never_placed_with_another_publisher(
    services: Services, fake_providers: FakeProviders
) -> None:
    """One that was not called yet fails without a call; one that was called stays with its publisher."""
    fake_providers.publication.behaviours = ["not_sent"]
    key = await place(services)
    assert (await state_of(services, key), fake_providers.publication.charges) == ("reserved", [])
    fake_providers.publication.name = "other"
    await reconcile_order(services, key)

    status = (await services.ledger.statuses([key]))[key]
    assert (status.state, status.result["code"]) == ("failed", "publisher_changed")
    assert fake_providers.publication.charges == []
    assert len(await events_of(services.db, OrderKey.parse(key).run_id, "order.refused")) == 1


async def test_a_publication_is_placed_and_polled_at_the_publisher_of_its_project(
    services: Services, fake_providers: FakeProviders
) -> None:
    """A publisher that its project no longer names takes nothing new, and answers for what it was given."""
    other, ledger = FakeProvider("other", content=b""), services.ledger
    ledger.providers = {**fake_providers.lists(), "publication": [fake_providers.publication, other]}
    keys = []
    for publishers, behaviours in (({"trio": "other"}, []), ({"trio": "other"}, ["not_sent"]), ({}, [])):
        ledger.publishers, other.behaviours = publishers, behaviours
        keys.append(await place(services, "other"))
    assert [await state_of(services, key) for key in keys] == ["submitted", "reserved", "failed"]
    other.finish(other.charges[0].task_id)
    for key in keys[:2]:
        await reconcile_order(services, key)

    statuses = await ledger.statuses(keys)
    assert [statuses[key].state for key in keys] == ["settled", "failed", "failed"]
    assert [statuses[key].result.get("code") for key in keys[1:]] == ["publisher_changed"] * 2
    assert (len(other.charges), fake_providers.publication.charges) == (1, [])


async def test_a_person_is_told_of_a_publication_whose_publisher_is_gone(
    services: Services, fake_providers: FakeProviders
) -> None:
    """No other publisher is asked for it."""
    other = FakeProvider("other", content=b"")
    services.ledger.providers = {**fake_providers.lists(), "publication": [fake_providers.publication, other]}
    services.ledger.publishers = {"trio": "other"}
    key = await place(services, "other")
    services.ledger.providers, services.ledger.publishers = fake_providers.lists(), {}
    await reconcile_order(services, key)
    new = await place(services, "other")

    trouble = await services.db.fetch_one("select code from troubles where subject = %s", (key,))
    assert (await state_of(services, key), trouble) == ("submitted", {"code": "provider_changed"})
    assert (await services.ledger.statuses([new]))[new].result["code"] == "publisher_changed"
    assert (len(other.charges), fake_providers.publication.charges) == (1, [])
