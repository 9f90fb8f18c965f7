"""Attempts of orders without a useful answer, as the ledger records them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from providers.base import Json, Progress
from providers.results import PollResult
from runs.queries import get_run_view, list_runs
from runs.reconcile import reconcile_order
from runs.services import Services
from storage import troubles
from storage.database import Database, open_pool
from tests.ledger.fake_provider import (
    FakeProvider,
    FakeProviders,
    approval,
    events_of,
    new_order,
    new_run,
    open_services,
    state_of,
)


class BrokenProvider(FakeProvider):
    """A provider with a defect in its client, until it is mended."""

    is_broken = True

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        if self.is_broken:
            raise KeyError("status")
        return await super().poll(task_id, request, into=into, progress=progress)


async def troubles_of(services: Services, run: str) -> list[dict[str, Any]]:
    return await services.db.fetch_all("select * from troubles where run_id = %s", (run,))


async def test_defect_is_a_trouble_of_the_order(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its trace once, the order stays open and paid once, and is settled after a fix."""
    clips = BrokenProvider("clips")
    async with open_services(database_url, FakeProviders(clip=clips), tmp_path) as services:
        run = await new_run(services.db)
        order = new_order(run, await approval(services.db, run))
        await services.ledger.place_once(order)
        for _ in range(3):
            await reconcile_order(services, str(order.key))
        [trouble] = await troubles_of(services, run)
        assert (trouble["code"], trouble["attempts"]) == ("internal_error", 3)
        assert [bool(record.exc_info) for record in caplog.records if "KeyError" in (record.exc_text or "")] == [True]

        clips.is_broken = False
        clips.finish(clips.charges[0].task_id)
        await reconcile_order(services, str(order.key))
        assert await state_of(services, order.key) == "settled"
        assert await troubles_of(services, run) == []
        assert len(clips.charges) == 1


class FullDisk(FakeProvider):
    """A provider whose files are written to a disk without space, until there is some."""

    is_full = True

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        if self.is_full:
            (into / "made.mp4").symlink_to("/dev/full")
        return await super().poll(task_id, request, into=into, progress=progress)


async def test_clip_waits_for_space_on_the_disk(database_url: str, tmp_path: Path) -> None:
    """The trouble names the setting of the folder and the cause; the clip is fetched, and paid once, with space."""
    clips = FullDisk("clips")
    async with open_services(database_url, FakeProviders(clip=clips), tmp_path) as services:
        run = await new_run(services.db)
        order = new_order(run, await approval(services.db, run))
        await services.ledger.place_once(order)
        clips.finish(clips.charges[0].task_id)
        await reconcile_order(services, str(order.key))
        [trouble] = await troubles_of(services, run)
        assert trouble["code"] == "disk_unwritable"
        assert trouble["message"] == "MYLOWARE_DATA_DIR: the folder cannot be written: No space left on device."

        clips.is_full = False
        await reconcile_order(services, str(order.key))
        assert await state_of(services, order.key) == "settled"
        assert await troubles_of(services, run) == []
        assert len(clips.charges) == 1


async def test_attention_is_requested_once_and_for_open_orders_only(
    services: Services, fake_providers: FakeProviders
) -> None:
    """After five minutes there is one event per trouble; none for a run that has ended."""
    running, ended = await new_run(services.db), await new_run(services.db)
    for run in (running, ended):
        order = new_order(run, await approval(services.db, run))
        await services.ledger.place_once(order)
        fake_providers.clip.unavailable = True
        await reconcile_order(services, str(order.key))
        fake_providers.clip.unavailable = False
    assert await troubles.request_attention(services.db) == 0
    await services.db.execute("update troubles set since = now() - interval '5 minutes'")
    await services.db.execute("update runs set status = 'failed' where id = %s", (ended,))

    assert [await troubles.request_attention(services.db) for _ in range(2)] == [1, 0]
    [event] = await events_of(services.db, running, "run.needs_attention")
    assert (event["payload"]["what"], event["payload"]["code"]) == ("clip 1", "provider_unavailable")
    views = [await get_run_view(services.db, UUID(run)) for run in (running, ended)]
    assert [view.needs_attention for view in views] == [True, False]
    assert [view.waiting and view.waiting.what for view in views] == ["clip 1", None]


async def test_useful_answer_ends_the_trouble(services: Services, fake_providers: FakeProviders) -> None:
    """An order that was not sent, and is accepted later, is in trouble no longer; the end of attention is an event."""
    fake_providers.clip.behaviours = ["not_sent"]
    run = await new_run(services.db)
    order = new_order(run, await approval(services.db, run))
    await services.ledger.place_once(order)
    [trouble] = await troubles_of(services, run)
    assert (trouble["code"], trouble["subject"]) == ("not_sent", str(order.key))
    await services.db.execute("update troubles set since = now() - interval '5 minutes'")
    await troubles.request_attention(services.db)

    await reconcile_order(services, str(order.key))
    assert await state_of(services, order.key) == "submitted"
    assert await troubles_of(services, run) == []
    assert len(await events_of(services.db, run, "run.attention_ended")) == 1


async def test_runs_are_read_from_a_read_only_database(services: Services, database_url: str) -> None:
    """Nobody is served them: nothing is written."""
    run = UUID(await new_run(services.db))
    async with open_pool(database_url, read_only=True) as pool:
        view = await get_run_view(Database(pool), run)
        listed = await list_runs(Database(pool))

    assert [each.run_id for each in (view, *listed)] == [run, run]
