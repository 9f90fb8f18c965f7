"""What a restored run orders may have been placed after the backup: it is looked up, and a person releases the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from providers.orders import Order
from providers.publications.folder import Folder
from runs.reconcile import reconcile_order
from runs.services import Services
from tests.ledger.fake_provider import (
    ANNA,
    FakeProviders,
    approval,
    events_of,
    new_order,
    new_run,
    run_costs,
    state_of,
)

HOUR = timedelta(hours=1)


async def _restored_order(services: Services, kind: str = "clip", *, take: int = 1, ago: timedelta = HOUR) -> Order:
    """Return the approved order of a run that was restored from a backup."""
    run = await new_run(services.db)
    since = datetime.now(UTC) - ago
    await services.db.execute("insert into restored_runs (run_id, since) values (%s, %s)", (run, since))
    approved = await approval(services.db, run, "publish" if kind == "publication" else "ideation")
    return new_order(run, approved, kind=kind, take=take, usd="0" if kind == "publication" else "1")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["clip", "publication"])
async def test_order_that_was_placed_after_the_backup_is_found(
    services: Services, fake_providers: FakeProviders, kind: str
) -> None:
    """The same approval computes the same key: the provider has the order, and gets no other call."""
    order = await _restored_order(services, kind)
    provider = fake_providers.all()[kind]
    charge = provider.create(order.request, str(order.key))

    await services.ledger.place_once(order)
    await reconcile_order(services, str(order.key))

    row = await services.ledger.get(str(order.key))
    assert row is not None
    assert (row.state, row.task_id, provider.calls) == ("submitted", charge.task_id, 0)
    assert len(await events_of(services.db, order.run_id, "order.held")) == 1


@pytest.mark.parametrize("kind", ["clip", "publication"])
async def test_order_that_is_not_found_waits_for_a_person(
    services: Services, fake_providers: FakeProviders, kind: str
) -> None:
    """No call is made before a person has declared it as not made, and then one, under the same key."""
    order = await _restored_order(services, kind)
    provider = fake_providers.all()[kind]
    await services.ledger.place_once(order)
    for _ in range(3):
        await reconcile_order(services, str(order.key))
    assert (await state_of(services, order.key), provider.calls) == ("unknown", 0)
    reserved = (await run_costs(services.db, order.run_id)).reserved_usd

    await services.ledger.declare_not_made(order.run_id, [str(order.key)], ANNA)
    assert (await run_costs(services.db, order.run_id)).reserved_usd == reserved
    for _ in range(2):
        await reconcile_order(services, str(order.key))

    assert await state_of(services, order.key) == "submitted"
    assert [key for key, _ in provider.submitted] == [str(order.key)]
    assert len(provider.charges) == 1


@pytest.mark.parametrize("kind", ["clip", "publication"])
async def test_a_later_attempt_is_found(services: Services, fake_providers: FakeProviders, kind: str) -> None:
    """The first attempt failed after the backup, which leaves no trace; the second one was made, and is the result."""
    order = await _restored_order(services, kind)
    provider = fake_providers.all()[kind]
    second = new_order(order.run_id, order.approval, take=2, kind=order.kind, usd="0")
    request = order.request if kind == "publication" else second.request
    made = provider.create(request, str(second.key))

    await services.ledger.place_once(order)
    await reconcile_order(services, str(order.key))

    row = await services.ledger.get(str(order.key))
    assert row is not None
    assert (row.state, row.task_id, provider.calls) == ("submitted", made.task_id, 0)


async def test_a_released_take_releases_no_other(services: Services, fake_providers: FakeProviders) -> None:
    """The provider lists take 2, which was made after the backup, only after a person has released take 1."""
    order = await _restored_order(services)
    second = new_order(order.run_id, order.approval, take=2)
    made = fake_providers.clip.create(second.request, str(second.key))
    fake_providers.clip.hidden = {made.task_id}
    await services.ledger.place_once(order)
    await reconcile_order(services, str(order.key))
    await services.ledger.declare_not_made(order.run_id, [str(order.key)], ANNA)
    fake_providers.clip.hidden, fake_providers.clip.behaviours = set(), ["refuse"]
    await reconcile_order(services, str(order.key))
    assert await state_of(services, order.key) == "failed"

    await services.ledger.place_once(second)
    await reconcile_order(services, str(second.key))

    row = await services.ledger.get(str(second.key))
    assert row is not None
    assert (row.task_id, len(fake_providers.clip.charges)) == (made.task_id, 1)


@pytest.mark.parametrize("ago", [HOUR / 2, 2 * HOUR])
async def test_a_replay_is_for_backups_that_are_young_enough(
    services: Services, fake_providers: FakeProviders, ago: timedelta
) -> None:
    """A key is replayed only while the provider recognises every order since the backup."""
    fake_providers.clip.replayable = HOUR
    order = await _restored_order(services, ago=ago)
    first = fake_providers.clip.create(order.request, str(order.key))
    fake_providers.clip.hidden = {first.task_id}

    await services.ledger.place_once(order)
    await reconcile_order(services, str(order.key))

    is_replayed = ago < HOUR
    assert await state_of(services, order.key) == ("submitted" if is_replayed else "unknown")
    assert (fake_providers.clip.calls, len(fake_providers.clip.charges)) == (int(is_replayed), 1)


async def test_renders_and_new_runs_are_not_held(services: Services, fake_providers: FakeProviders) -> None:
    """A render costs nothing, and what a run orders that was started after the restore is new."""
    restored = await _restored_order(services)
    render = new_order(restored.run_id, None, kind="render", usd="0")
    run = await new_run(services.db)
    clip = new_order(run, await approval(services.db, run))
    for order in (render, clip):
        await services.ledger.place_once(order)

    assert [await state_of(services, order.key) for order in (render, clip)] == ["submitted"] * 2
    assert (fake_providers.render.calls, fake_providers.clip.calls) == (1, 1)


async def test_a_folder_counts_as_published_only_if_it_is_there(tmp_path: Path) -> None:
    """An interrupted publication of this service is written again; one from before a restore has to exist."""
    folder, now = Folder(tmp_path, None), datetime.now(UTC)  # type: ignore[arg-type]
    [task_id] = await folder.lookup({}, key="run:publication:1:1", since=now)
    assert await folder.find_existing({}, key="run:publication:1:1", since=now) == []

    (tmp_path / task_id).mkdir()
    assert await folder.find_existing({}, key="run:publication:1:1", since=now) == [task_id]
