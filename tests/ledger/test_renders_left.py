"""A worker leaves a render that it cannot do to the other workers, for a while, and only if there are any."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from providers.orders import Order, OrderKey
from runs import renders
from runs.renders import Renders
from runs.services import Services
from storage.wakeups import WORKER_LOCK
from tests.ledger.fake_provider import FakeProvider, FakeProviders, new_run, open_services, state_of

MANIFEST = {"title": "Rain", "clips": [{"digest": "0" * 64, "seconds": 3.0, "overlay": "Rain"}]}


@asynccontextmanager
async def listening_workers(dsn: str, count: int) -> AsyncIterator[None]:
    """Hold the lock that workers share while they listen."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            connection = await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn, autocommit=True))
            await connection.execute("select pg_advisory_lock_shared(%s)", (WORKER_LOCK,))
        yield


async def place_render(services: Services, title: str) -> str:
    """Place the render of a film with this title and return its key."""
    order = Order(OrderKey(await new_run(services.db), "render"), "render", MANIFEST | {"title": title})
    await services.ledger.place_once(order)
    await services.db.execute("update orders set next_poll_at = now() where key = %s", (str(order.key),))
    return str(order.key)


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose only font is that of the film."""
    monkeypatch.setenv("XDG_DATA_DIRS", "/nonexistent")


async def test_a_worker_without_the_fonts_leaves_the_render(
    database_url: str, services: Services, fake_providers: FakeProviders, no_fonts: None
) -> None:
    """It is due for the others at once, and this worker claims it no more, until nobody has done it for a minute."""
    key = await place_render(services, "雨の夜")
    fake_providers.render.finish(fake_providers.render.charges[0].task_id)
    worker = Renders(services)
    async with listening_workers(database_url, 2):
        assert await worker.claim(10) == [key]
        await worker.reconcile(key)
        assert await worker.claim(10) == []
        await worker.reconcile(key)  # a wake-up in this process
        assert await state_of(services, key) == "submitted"
        assert await Renders(services).claim(10) == [key]

        worker.left[key] -= renders.LEFT_SECONDS
        await worker.reconcile(key)
    assert await state_of(services, key) == "settled"


async def test_a_worker_without_the_renderer_leaves_the_render(database_url: str, tmp_path: Path) -> None:
    """It goes to the worker whose settings name that renderer, and is not moved to another one."""
    remotion, embedded = FakeProvider("remotion"), FakeProvider("embedded")
    async with (
        open_services(database_url, FakeProviders(render=remotion), tmp_path / "1") as able,
        open_services(database_url, FakeProviders(render=embedded), tmp_path / "2") as unable,
        listening_workers(database_url, 2),
    ):
        key = await place_render(able, "Rain")
        remotion.finish(remotion.charges[0].task_id)
        await Renders(unable).reconcile(key)
        assert (await state_of(able, key), embedded.charges) == ("submitted", [])
        await Renders(able).reconcile(key)
        assert await state_of(able, key) == "settled"


@pytest.mark.parametrize(("title", "workers"), [("雨の夜", 1), ("Rain", 2)], ids=["the only worker", "a usual title"])
async def test_other_renders_are_done_at_once(
    database_url: str, services: Services, fake_providers: FakeProviders, no_fonts: None, title: str, workers: int
) -> None:
    """A worker without others does what it can, and every worker does what it has the fonts for."""
    key = await place_render(services, title)
    fake_providers.render.finish(fake_providers.render.charges[0].task_id)
    async with listening_workers(database_url, workers):
        await Renders(services).reconcile(key)
    assert await state_of(services, key) == "settled"
