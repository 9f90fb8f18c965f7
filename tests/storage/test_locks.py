"""Locks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

import pytest
from psycopg import AsyncConnection

from storage.database import Database
from storage.locks import LockBusy, LockLost, Locks
from tests.storage.programs import read_line, run_program

HOLDER = """
    import asyncio, sys
    from storage.locks import Locks, LockLost

    async def main():
        async with Locks(sys.argv[1]) as locks:
            try:
                async with locks.hold("run"):
                    print("held", flush=True)
                    await asyncio.sleep(60)
            except LockLost:
                print("lost", flush=True)

    asyncio.run(main())
"""


async def wait_until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def output(process: subprocess.Popen[str]) -> str:
    return await asyncio.to_thread(read_line, process)


async def held(locks: Locks, names: Collection[str]) -> set[str]:
    """Return those of the names that any process holds. `pg_locks` shows a 64-bit key in two halves."""
    async with await AsyncConnection.connect(locks.session_url) as connection:
        rows = await connection.execute(
            "select name from unnest(%s::text[]) as name where hashtextextended(name, 7119) in ("
            " select classid::bigint << 32 | objid::bigint from pg_locks"
            " where locktype = 'advisory' and objsubid = 1 and granted"
            " and database = (select oid from pg_database where datname = current_database()))",
            (list(names),),
        )
        return {name for (name,) in await rows.fetchall()}


async def terminate_sessions(db: Database, locks: Locks) -> None:
    terminated = await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s", (locks.worker_id,)
    )
    assert terminated == 1


async def test_held_lock_is_busy_for_every_other_task(database_url: str) -> None:
    """In this process and in others, at once; afterwards it is free."""
    async with Locks(database_url) as ours, Locks(database_url) as theirs:
        async with ours.hold("a"):
            for other in (ours, theirs):
                with pytest.raises(LockBusy):
                    await other.hold("a").__aenter__()
            async with theirs.hold("b"):
                assert await held(ours, ["a", "b", "c"]) == {"a", "b"}

        assert await held(ours, ["a", "b"]) == set()
        async with theirs.hold("a"):
            assert await held(ours, {"a"}) == {"a"}


async def test_one_of_many_concurrent_attempts_succeeds(database_url: str) -> None:
    """Twenty tasks of two processes try to get the same lock."""
    inside = 0

    async def attempt(locks: Locks) -> bool:
        nonlocal inside
        try:
            async with locks.hold("a"):
                inside += 1
                await asyncio.sleep(0.05)
                alone = inside == 1
                inside -= 1
                return alone
        except LockBusy:
            return False

    async with Locks(database_url) as ours, Locks(database_url) as theirs:
        results = await asyncio.gather(*(attempt(locks) for locks in (ours, theirs) * 10))

    assert sorted(results) == [False] * 19 + [True]


async def test_failed_or_cancelled_block_releases_its_lock(database_url: str) -> None:
    """The exception of the block is raised unchanged."""
    async with Locks(database_url) as locks, Locks(database_url) as other:
        with pytest.raises(ZeroDivisionError):
            async with locks.hold("a"):
                1 / 0  # noqa: B018
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), locks.hold("a"):
                await asyncio.sleep(60)
        async with other.hold("a"):
            pass


async def test_cancelled_attempt_leaves_no_lock(database_url: str) -> None:
    """At every step of the attempt."""
    async with Locks(database_url) as locks, Locks(database_url) as other:

        async def hold() -> None:
            async with locks.hold("a"):
                await asyncio.sleep(60)

        for steps in range(12):
            holder = asyncio.create_task(hold())
            for _ in range(steps):
                await asyncio.sleep(0)
            holder.cancel()
            await asyncio.wait({holder})

            assert holder.cancelled()
            assert await held(other, ["a"]) == set()


async def test_lock_of_a_killed_process_is_released(database_url: str) -> None:
    """Within two seconds after `kill -9`, without a sweep."""
    async with Locks(database_url) as locks:
        with run_program(HOLDER, database_url) as other:
            assert await output(other) == "held"
            assert await held(locks, ["run"]) == {"run"}
            other.kill()
            killed_at = time.monotonic()

            async def free() -> bool:
                return not await held(locks, ["run"])

            await wait_until(free)

        assert time.monotonic() - killed_at < 2
        async with locks.hold("run"):
            pass


async def test_lost_session_cancels_its_holders_with_lock_lost(db: Database, database_url: str) -> None:
    """Each gets LockLost instead of CancelledError; then the session is connected again."""

    async def work(name: str) -> None:
        async with locks.hold(name):
            await asyncio.sleep(60)

    async with Locks(database_url) as locks:
        workers = [asyncio.create_task(work(name)) for name in "ab"]
        await asyncio.sleep(0.05)
        assert await held(locks, ["a", "b"]) == {"a", "b"}
        await terminate_sessions(db, locks)
        results = await asyncio.wait_for(asyncio.gather(*workers, return_exceptions=True), 5)

        assert [type(result) for result in results] == [LockLost, LockLost]

        async def held_again() -> bool:
            try:
                async with locks.hold("a"):
                    return True
            except LockLost:
                return False

        await wait_until(held_again)


async def test_task_can_continue_after_lock_lost(db: Database, database_url: str) -> None:
    """No cancellation is left in the task, even if the block suppressed it."""
    async with Locks(database_url) as locks:
        with pytest.raises(LockLost):  # noqa: PT012
            async with locks.hold("a"):
                await terminate_sessions(db, locks)
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
        task = asyncio.current_task()

        assert task is not None
        assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)


async def test_frozen_process_is_disconnected_and_stops_when_it_resumes(database_url: str) -> None:
    """Another process gets its lock; when it resumes, it gets LockLost before it continues."""
    async with Locks(database_url) as locks:
        with run_program(HOLDER, database_url) as other:
            assert await output(other) == "held"
            assert await locks.disconnect_frozen_workers(2) == 0
            os.kill(other.pid, signal.SIGSTOP)

            async def disconnected() -> bool:
                return await locks.disconnect_frozen_workers(1.5) == 1

            await wait_until(disconnected)

            async def free() -> bool:
                return not await held(locks, ["run"])

            await wait_until(free)
            async with locks.hold("run"):
                os.kill(other.pid, signal.SIGCONT)

                assert await asyncio.wait_for(output(other), 10) == "lost"


async def test_workers_are_listed_while_they_run(db: Database, database_url: str) -> None:
    """A worker has a heartbeat from the start and deletes its row at the end; rows of dead workers are deleted."""
    await db.execute("insert into workers (id, beat_at) values ('dead', now() - interval '1 hour')")
    async with Locks(database_url) as locks:
        rows = await db.fetch_all("select id, now() - beat_at < interval '2 s' as fresh from workers order by fresh")
        assert rows == [{"id": "dead", "fresh": False}, {"id": locks.worker_id, "fresh": True}]
        assert await locks.disconnect_frozen_workers(60) == 0
        assert await db.fetch_all("select id from workers") == [{"id": locks.worker_id}]

    assert await db.fetch_all("select id from workers") == []
