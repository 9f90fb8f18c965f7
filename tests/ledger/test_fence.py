"""Who is not the driver of a run any more writes nothing of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from psycopg import DatabaseError

from runs.services import Services
from storage import runs as table
from tests.ledger.fake_provider import FakeProviders, new_run, opened


def at(run: str) -> Any:
    return {"configurable": {"thread_id": run, "checkpoint_ns": ""}}


async def write(services: Services, run: str) -> Any:
    """Write one checkpoint of the run."""
    checkpoint = empty_checkpoint()
    return await services.new_saver().aput(at(run), checkpoint, {"source": "loop", "step": 1}, {})


async def test_only_the_driver_writes_the_thread(database_url: str, tmp_path: Path) -> None:
    """Once another process has taken a run over, the database refuses what the first one would write of it."""
    async with (
        opened(database_url, FakeProviders(), tmp_path) as first,
        opened(database_url, FakeProviders(), tmp_path) as second,
    ):
        run = await new_run(first.db)
        await table.claim(first.db, run)
        written = await write(first, run)
        await table.claim(second.db, run)

        with pytest.raises(DatabaseError, match="driven by another process"):
            await write(first, run)
        with pytest.raises(DatabaseError, match="driven by another process"):
            await first.new_saver().aput_writes(written, [("film", 1)], "task")
        await write(second, run)


async def test_only_the_driver_tells_where_the_run_is(database_url: str, tmp_path: Path) -> None:
    """Nor does it change what people are shown of the run."""
    async with (
        opened(database_url, FakeProviders(), tmp_path) as first,
        opened(database_url, FakeProviders(), tmp_path) as second,
    ):
        run = await new_run(first.db)
        await table.claim(first.db, run)
        await table.claim(second.db, run)

        said: dict[str, Any] = {"current_step": None, "revision": 0, "review": None, "artifacts": {}}
        assert not await table.save_projection(first.db, run, status="completed", **said)
        await table.record_step(first.db, run, "publisher")

        row = await table.get_run(first.db, run)
        assert row is not None
        assert (row["status"], row["current_step"]) == ("pending", None)
        assert await table.save_projection(second.db, run, status="completed", **said)


async def test_the_fence_costs_little(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint takes at most half as long again for being guarded, and a millisecond."""
    run = await new_run(services.db)
    await table.claim(services.db, run)
    took: dict[str, float] = {}
    for state in ("enable", "disable", "enable", "disable"):
        for name in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            await services.db.execute(f"alter table {name} {state} trigger only_the_driver_writes")  # type: ignore[arg-type]
        began = time.perf_counter()
        for _ in range(150):
            await write(services, run)
        took[state] = min(took.get(state, 9.0), (time.perf_counter() - began) / 150)

    with capsys.disabled():
        print(f" [{took['disable'] * 1e3:.2f} ms without, {took['enable'] * 1e3:.2f} ms with]", end="")
    assert took["enable"] < 1.5 * took["disable"] + 0.001
