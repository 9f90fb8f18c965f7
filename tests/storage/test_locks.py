"""Who may move a run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from storage.database import Database
from storage.locks import LockBusy, LockLost, Locks
from tests.storage.programs import line, program

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


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def said(process: subprocess.Popen[str]) -> str:
    return await asyncio.to_thread(line, process)


async def cut_sessions(db: Database, locks: Locks) -> None:
    cut = await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s", (locks.worker_id,)
    )
    assert cut == 1


async def test_one_holds_and_the_others_are_told_at_once(database_url: str) -> None:
    """Another process, and another task of this one, find it busy; afterwards it is free."""
    async with Locks(database_url) as ours, Locks(database_url) as theirs:
        async with ours.hold("a"):
            for other in (ours, theirs):
                with pytest.raises(LockBusy):
                    await other.hold("a").__aenter__()
            async with theirs.hold("b"):
                assert await ours.held(["a", "b", "c"]) == {"a", "b"}

        assert await ours.held(["a", "b"]) == set()
        async with theirs.hold("a"):
            assert await ours.held({"a"}) == {"a"}


async def test_one_of_many_that_begin_together_holds(database_url: str) -> None:
    """However many tasks of two processes ask at once, one gets in."""
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


async def test_a_holder_that_fails_or_is_cancelled_lets_go(database_url: str) -> None:
    """What a block raises comes out as it is, and the lock is free."""
    async with Locks(database_url) as locks, Locks(database_url) as other:
        with pytest.raises(ZeroDivisionError):
            async with locks.hold("a"):
                1 / 0  # noqa: B018
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), locks.hold("a"):
                await asyncio.sleep(60)
        async with other.hold("a"):
            pass


async def test_a_holder_cancelled_while_it_asks_leaves_no_lock(database_url: str) -> None:
    """At whatever moment of the asking it is cancelled."""
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
            assert await other.held(["a"]) == set()


async def test_the_lock_of_a_killed_process_is_free(database_url: str) -> None:
    """`kill -9` frees what a process held, without anybody sweeping."""
    async with Locks(database_url) as locks:
        with program(HOLDER, database_url) as other:
            assert await said(other) == "held"
            assert await locks.held(["run"]) == {"run"}
            other.kill()
            began = time.monotonic()

            async def free() -> bool:
                return not await locks.held(["run"])

            await until(free)

        assert time.monotonic() - began < 2
        async with locks.hold("run"):
            pass


async def test_holders_of_a_dead_session_are_stopped_and_told(db: Database, database_url: str) -> None:
    """Each sees LockLost, no bare cancellation; then there is a session again."""

    async def work(name: str) -> None:
        async with locks.hold(name):
            await asyncio.sleep(60)

    async with Locks(database_url) as locks:
        workers = [asyncio.create_task(work(name)) for name in "ab"]
        await asyncio.sleep(0.05)
        assert await locks.held(["a", "b"]) == {"a", "b"}
        await cut_sessions(db, locks)
        results = await asyncio.wait_for(asyncio.gather(*workers, return_exceptions=True), 5)

        assert [type(result) for result in results] == [LockLost, LockLost]

        async def held_again() -> bool:
            try:
                async with locks.hold("a"):
                    return True
            except LockLost:
                return False

        await until(held_again)


async def test_a_task_that_lost_its_lock_can_go_on(db: Database, database_url: str) -> None:
    """After LockLost nothing of the cancellation is left in the task, even where the block held on to it."""
    async with Locks(database_url) as locks:
        with pytest.raises(LockLost):  # noqa: PT012
            async with locks.hold("a"):
                await cut_sessions(db, locks)
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
        task = asyncio.current_task()

        assert task is not None
        assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)


async def test_a_frozen_process_is_cut_off_and_stops_when_it_wakes(database_url: str) -> None:
    """Its lock goes to another; when it wakes up it is told before it can go on."""
    async with Locks(database_url) as locks:
        with program(HOLDER, database_url) as other:
            assert await said(other) == "held"
            assert await locks.cut_off_frozen(2) == 0
            os.kill(other.pid, signal.SIGSTOP)

            async def cut_off() -> bool:
                return await locks.cut_off_frozen(1.5) == 1

            await until(cut_off)

            async def free() -> bool:
                return not await locks.held(["run"])

            await until(free)
            async with locks.hold("run"):
                os.kill(other.pid, signal.SIGCONT)

                assert await asyncio.wait_for(said(other), 10) == "lost"


async def test_workers_are_listed_while_they_live(db: Database, database_url: str) -> None:
    """A worker beats from the beginning and takes its row away; the rows of dead ones are swept."""
    await db.execute("insert into workers (id, beat_at) values ('dead', now() - interval '1 hour')")
    async with Locks(database_url) as locks:
        rows = await db.fetch_all("select id, now() - beat_at < interval '2 s' as fresh from workers order by fresh")
        assert rows == [{"id": "dead", "fresh": False}, {"id": locks.worker_id, "fresh": True}]
        assert await locks.cut_off_frozen(60) == 0
        assert await db.fetch_all("select id from workers") == [{"id": locks.worker_id}]

    assert await db.fetch_all("select id from workers") == []
