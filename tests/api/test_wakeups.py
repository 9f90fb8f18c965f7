"""Wake-ups between processes: what one records, a worker in another starts at once, and each run is driven."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from uuid import uuid4

import psycopg
import pytest

from runs import worker
from runs.queue import LocalQueue, Queue, repeating
from storage import runs as table
from storage.actors import LOCAL, RequestContext
from storage.database import Database, open_pool
from storage.runs import NewRun
from storage.wakeups import listen, make_due
from tests.app import App, SandboxClient


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_pool(database_url, max_size=10) as pool:
        yield Database(pool)


@pytest.fixture
def far_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker sweep when it starts, and then not for an hour."""
    monkeypatch.setattr(worker, "SWEEP_INTERVAL_SECONDS", 3600.0)


async def create_runs(db: Database, count: int) -> list[str]:
    """Create runs that no wake-up announces."""
    about = {"project": "tiny", "brief": "Rain", "options": {}, "metadata": {}, "cap_usd": Decimal(5)}
    new = [NewRun(id=uuid4(), **about) for _ in range(count)]
    return [str((await table.create_run(db, each, RequestContext(LOCAL, "cli"))).id) for each in new]


@asynccontextmanager
async def listening(database_url: str) -> AsyncIterator[asyncio.Event]:
    """Yield an event that is set by notifications."""
    notified = asyncio.Event()

    async def notify() -> None:
        notified.set()

    async with repeating((partial(listen, database_url, "listener", notify), 0)):
        await asyncio.wait_for(notified.wait(), 10)  # at once, for what came before
        notified.clear()
        yield notified


@pytest.mark.slow
def test_a_worker_starts_at_once_what_another_process_records(
    quiet_app: App, sandbox: SandboxClient, far_sweeps: None
) -> None:
    """A start and an approval in a process without a worker: there is no sweep that would find them."""
    with App(quiet_app.settings, sandbox):
        run_id = quiet_app.start("Frost on a fern")
        quiet_app.until(run_id, "awaiting_ideation_approval")
        quiet_app.decide(run_id, "ideation")
        quiet_app.until_true(run_id, lambda run: run["status"].startswith("awaiting_") and not run["review"])


@pytest.mark.slow
def test_the_sweep_finds_what_no_notification_reached(quiet_app: App, sandbox: SandboxClient) -> None:
    """A run whose process died after the commit."""
    [run_id] = quiet_app.in_loop(create_runs(quiet_app.state.services.db, 1))
    with App(quiet_app.settings, sandbox):
        quiet_app.until(run_id, "awaiting_ideation_approval")


async def test_pending_wakeups_are_sent_together(db: Database, database_url: str) -> None:
    """One statement makes all runs due, and notifies once."""
    run_ids = await create_runs(db, 20)
    queue = Queue(db)
    async with listening(database_url) as notified, repeating((queue.send, 0)):
        before = db.pool.get_stats()["requests_num"]
        for run_id in run_ids:
            queue.advance(run_id)
        queue.reconcile(f"{run_ids[0]}:clip:1:1")
        await asyncio.wait_for(notified.wait(), 10)
        assert db.pool.get_stats()["requests_num"] == before + 1

    assert set(await table.claim_due(db, 100)) == set(run_ids)


async def test_a_locked_row_is_not_waited_for(db: Database, database_url: str) -> None:
    """Waiting for it could end in a deadlock with the transaction that has it; the others become due."""
    locked, free = await create_runs(db, 2)
    async with db.transaction() as connection, listening(database_url) as notified:
        await connection.execute("select from runs where id = %s for update", (locked,))
        await make_due(db, [locked, free])
        await asyncio.wait_for(notified.wait(), 10)

    assert await table.claim_due(db, 100) == [free]


async def test_the_oldest_due_runs_come_first(db: Database) -> None:
    """A wake-up does not change the place of a run that is due already."""
    first, second = await create_runs(db, 2)
    await db.execute("update runs set next_wakeup_at = now() - interval '1 minute' where id = %s", (first,))
    await make_due(db, [second, first])

    assert [await table.claim_due(db, 1) for _ in range(2)] == [[first], [second]]


async def test_a_lost_session_ends_the_listener(db: Database, database_url: str) -> None:
    """It is then repeated, which notifies at once of what may have been missed."""
    terminate = """select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'listener' and datname = current_database()"""
    async with listening(database_url) as notified:
        for _ in range(2):
            await db.fetch_all(terminate)
            await asyncio.wait_for(notified.wait(), 10)
            notified.clear()


async def test_two_hundred_due_runs_drain_through_eight_slots(db: Database) -> None:
    """After one request: each is driven, by two processes together, and never more at once than there are slots."""
    run_ids = await create_runs(db, 200)
    await make_due(db, run_ids)
    driven, at_once, most, ended = Counter[str](), Counter[int](), Counter[int](), asyncio.Event()

    async def drive(process: int, run_id: str) -> None:
        driven[run_id] += 1
        at_once[process] += 1
        most[process] = max(most[process], at_once[process])
        await db.execute("update runs set next_wakeup_at = null where id = %s", (run_id,))
        at_once[process] -= 1
        if len(driven) == len(run_ids) and not at_once.total():
            ended.set()

    queues = [LocalQueue(partial(drive, process), partial(table.claim_due, db), 8) for process in range(2)]
    async with repeating(*((each.claim_due, 0) for each in queues)):
        for each in queues:
            each.claim_requested.set()
        await asyncio.wait_for(ended.wait(), 30)

    assert set(driven) == set(run_ids)
    assert max(most.values()) == 8


async def test_a_worker_holds_its_lock_while_it_listens(db: Database, database_url: str) -> None:
    """`/ready` looks for it."""
    locks = "pg_locks join pg_database on pg_database.oid = database and datname = current_database()"
    held = f"select count(*) as count from {locks} where locktype = 'advisory' and mode = 'ShareLock'"
    with psycopg.connect(database_url, autocommit=True) as connection:
        async with listening(database_url), listening(database_url):
            assert connection.execute(held).fetchone() == (2,)
