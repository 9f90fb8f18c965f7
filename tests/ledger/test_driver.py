"""Only the driver of a run writes its thread and its progress."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from psycopg import DatabaseError

from graph.decisions import DecisionInput
from graph.review_content import Review
from runs.advance import advance
from runs.decide import decide
from runs.services import Services
from storage import runs as table
from storage.database import Database, fetch_one
from storage.runs import Projection
from storage.saver import Saver
from tests.ledger.fake_provider import ANNA, FakeProviders, new_run, open_services


def config_of(run: str) -> Any:
    return {"configurable": {"thread_id": run, "checkpoint_ns": ""}}


async def write_checkpoint(services: Services, run: str) -> Any:
    """Write one checkpoint of the run."""
    checkpoint = empty_checkpoint()
    return await services.new_saver().aput(config_of(run), checkpoint, {"source": "loop", "step": 1}, {})


async def test_only_the_driver_writes_the_thread(database_url: str, tmp_path: Path) -> None:
    """Once another process has claimed a run, the database refuses checkpoints of the first one."""
    async with (
        open_services(database_url, FakeProviders(), tmp_path) as first,
        open_services(database_url, FakeProviders(), tmp_path) as second,
    ):
        run = await new_run(first.db)
        await table.claim(first.db, run)
        written = await write_checkpoint(first, run)
        await table.claim(second.db, run)

        with pytest.raises(DatabaseError, match="driven by another process"):
            await write_checkpoint(first, run)
        with pytest.raises(DatabaseError, match="driven by another process"):
            await first.new_saver().aput_writes(written, [("film", 1)], "task")
        await write_checkpoint(second, run)


async def test_only_the_driver_saves_the_progress(database_url: str, tmp_path: Path) -> None:
    """A process that is not the driver any more does not change the status of the run."""
    async with (
        open_services(database_url, FakeProviders(), tmp_path) as first,
        open_services(database_url, FakeProviders(), tmp_path) as second,
    ):
        run = await new_run(first.db)
        await table.claim(first.db, run)
        await table.claim(second.db, run)

        projection = Projection("completed", current_step=None, revision=0, review=None, artifacts={})
        assert not await table.save_projection(first.db, run, projection)
        await table.record_step(first.db, run, "publisher")

        row = await table.get_run(first.db, run)
        assert row is not None
        assert (row.status, row.current_step) == ("pending", None)
        assert await table.save_projection(second.db, run, projection)


async def test_a_review_does_not_open_again_after_a_concurrent_decision(services: Services) -> None:
    """A worker that read the thread before the decision, and waits for its commit, does not open the review again."""
    run_id = await new_run(services.db)
    await advance(services, run_id)
    run = await table.claim(services.db, run_id)
    assert run is not None
    assert run.review is not None
    review = Review.model_validate(run.review)
    decision = DecisionInput(verdict="approve", digest=review.digest)
    progress = Projection(run.status, run.current_step, run.revision, run.review, {}, read_at=run.updated_at)

    async with asyncio.TaskGroup() as tasks, services.db.transaction() as conn:
        await fetch_one(conn, "select from runs where id = %s for update", (run_id,))
        tasks.create_task(decide(services, UUID(run_id), "ideation", decision, ANNA))
        await until_blocked(services.db, 1)
        saving = tasks.create_task(table.save_projection(services.db, run_id, progress))
        await until_blocked(services.db, 2)

    row = await table.get_run(services.db, run_id)
    assert not saving.result()
    assert row is not None
    assert row.review is None


async def until_blocked(db: Database, count: int) -> None:
    """Wait until so many statements wait for a lock."""
    query = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(10):
        while len(await db.fetch_all(query)) < count:  # noqa: ASYNC110 - the database sets no event
            await asyncio.sleep(0.01)


#: How often rows of `runs` were looked up, and how many rows of threads were written.
COUNTS = """
select
    sum(seq_scan + coalesce(idx_scan, 0)) filter (where relname = 'runs')::int as lookups,
    sum(n_tup_ins + n_tup_upd) filter (where relname like 'checkpoint%')::int as written
from pg_stat_user_tables
"""


async def test_cost_of_the_driver_check(services: Services) -> None:
    """The check looks up the run once for each row that is written, in the statement that writes it."""
    run = await new_run(services.db)
    await table.claim(services.db, run)
    async with services.db.pool.connection() as connection:

        async def count() -> Counter[str]:
            await connection.execute("select pg_stat_force_next_flush()")
            return Counter((await (await connection.execute(COUNTS)).fetchall())[0])

        before = await count()
        for step in range(20):
            config, checkpoint = config_of(run), empty_checkpoint()
            versions = {"film": str(step)}
            checkpoint |= {"channel_values": {"film": [step]}, "channel_versions": versions}  # in a table of its own
            await Saver(connection).aput(config, checkpoint, {"source": "loop", "step": step}, versions)
        spent = await count()
        spent.subtract(before)

    assert spent == {"lookups": 40, "written": 40}
