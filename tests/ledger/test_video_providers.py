"""The name in an order decides which provider of clips answers for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from providers.orders import Order
from runs.reconcile import reconcile_order
from runs.services import Services
from storage.orders import OrderRow
from tests.ledger.fake_provider import FakeProvider, approval, new_order, new_run

VIDEOS, KLING = "videos:server/v1", "kling:api.example"


def use(services: Services, *providers: FakeProvider) -> None:
    """Use these providers of clips, the preferred one first."""
    services.ledger.providers = {**services.ledger.providers, "clip": providers}


async def clip_order(services: Services, provider: str) -> Order:
    run = await new_run(services.db)
    return replace(new_order(run, await approval(services.db, run)), provider=provider)


async def row_of(services: Services, order: Order) -> OrderRow:
    row = await services.ledger.get(str(order.key))
    assert row is not None
    return row


async def trouble_of(services: Services, order: Order) -> dict[str, str]:
    row = await services.db.fetch_one("select code, message from troubles where subject = %s", (str(order.key),))
    return row or {}


async def test_clips_are_ordered_from_the_approved_provider(services: Services) -> None:
    """Each order is placed and polled at its own provider; one of an earlier version, at the open contract."""
    videos, kling = FakeProvider(VIDEOS), FakeProvider(KLING)
    use(services, kling, videos)
    orders = [await clip_order(services, name) for name in ("kling", "videos", "")]
    for order in orders:
        await services.ledger.place_once(order)
    kling.finish(kling.charges[0].task_id)
    for order in orders:
        await reconcile_order(services, str(order.key))

    assert [(await row_of(services, order)).provider for order in orders] == [KLING, VIDEOS, VIDEOS]
    assert [(await row_of(services, order)).state for order in orders] == ["settled", "submitted", "submitted"]
    assert (len(kling.charges), len(videos.charges)) == (1, 2)


async def test_a_provider_that_is_down_does_not_touch_the_other(services: Services) -> None:
    """Its order waits in trouble; the order of the other one settles."""
    videos, kling = FakeProvider(VIDEOS), FakeProvider(KLING)
    use(services, videos, kling)
    lost, made = await clip_order(services, "kling"), await clip_order(services, "videos")
    for order in (lost, made):
        await services.ledger.place_once(order)
    kling.unavailable = True
    videos.finish(videos.charges[0].task_id)
    for order in (lost, made):
        await reconcile_order(services, str(order.key))

    assert ((await row_of(services, lost)).state, (await row_of(services, made)).state) == ("submitted", "settled")
    assert (await trouble_of(services, lost))["code"] == "provider_unavailable"
    assert await trouble_of(services, made) == {}


async def test_a_person_is_told_of_an_order_whose_provider_is_gone(services: Services) -> None:
    """It is neither polled at another provider nor paid again; it settles when the provider is back."""
    videos, kling = FakeProvider(VIDEOS), FakeProvider(KLING)
    use(services, videos, kling)
    order = await clip_order(services, "kling")
    await services.ledger.place_once(order)
    kling.finish(kling.charges[0].task_id)
    use(services, videos)
    await reconcile_order(services, str(order.key))
    trouble = await trouble_of(services, order)

    assert ((await row_of(services, order)).state, trouble["code"]) == ("submitted", "provider_changed")
    assert f"It was ordered from {KLING}, which is not configured any more." in trouble["message"]
    use(services, videos, kling)
    await reconcile_order(services, str(order.key))
    assert (await row_of(services, order)).state == "settled"
    assert (len(kling.charges), len(videos.charges)) == (1, 0)


async def test_nothing_is_ordered_from_another_provider_than_the_approved_one(services: Services) -> None:
    """An order whose provider was removed before its call is refused, before and after it was reserved."""
    videos, kling = FakeProvider(VIDEOS), FakeProvider(KLING)
    use(services, videos, kling)
    reserved, new = await clip_order(services, "kling"), await clip_order(services, "kling")
    await services.ledger.reserve([reserved])
    use(services, videos)
    await services.ledger.place(str(reserved.key))
    await services.ledger.place_once(new)

    for order in (reserved, new):
        row = await row_of(services, order)
        assert (row.state, row.result["code"], row.spent_usd or 0) == ("failed", "provider_not_configured", 0)
    assert (kling.charges, videos.charges) == ([], [])


async def test_a_reserved_order_follows_its_provider_to_another_host(services: Services) -> None:
    """The address of a provider can change between the reservation and the call."""
    videos, kling = FakeProvider(VIDEOS), FakeProvider(KLING)
    use(services, videos, kling)
    order = await clip_order(services, "kling")
    await services.ledger.reserve([order])
    moved = FakeProvider("kling:other.example")
    use(services, videos, moved)
    await services.ledger.place(str(order.key))

    assert ((await row_of(services, order)).provider, len(moved.charges)) == ("kling:other.example", 1)


async def test_a_person_learns_until_when_a_clip_is_stored(services: Services) -> None:
    """The trouble of an order names the time from which its provider may delete the file."""
    kling = FakeProvider(KLING)
    kling.result_lifetime = timedelta(hours=1)
    use(services, kling)
    order = await clip_order(services, "kling")
    await services.ledger.place_once(order)
    kling.unavailable = True
    await reconcile_order(services, str(order.key))
    submitted_at = (await row_of(services, order)).submitted_at
    assert submitted_at is not None
    until = f"{submitted_at + timedelta(hours=1):%Y-%m-%d %H:%M} UTC"

    assert (await trouble_of(services, order))["message"].endswith(f"{KLING} may delete its file from {until} on.")
