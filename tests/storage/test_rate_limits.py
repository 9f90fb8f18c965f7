"""Rate limits."""

from __future__ import annotations

import asyncio
import time

import pytest

from storage.database import Database, open_pool
from storage.rate_limits import admit, forget_idle


async def age(db: Database, client: str, seconds: int) -> None:
    """Move all requests of the client into the past."""
    await db.execute("update rate_limits set second = second - %s where client = %s", (seconds, client))


async def test_limit_is_exact_across_processes(database_url: str) -> None:
    """Of a hundred concurrent requests over two pools sixty are admitted; the others get the time to wait."""
    async with open_pool(database_url, max_size=5) as one, open_pool(database_url, max_size=5) as two:
        waits = await asyncio.gather(*(admit(Database(pool), "a", limit=60) for pool in (one, two) * 50))

    assert waits.count(0) == 60
    assert all(55 <= wait <= 61 for wait in waits if wait)


async def test_spaced_requests_have_the_same_limit(db: Database) -> None:
    """Thirty requests, one in two seconds, fill it; a place is free a minute after the first."""
    for _ in range(30):
        assert await admit(db, "a", limit=30) == 0
        await age(db, "a", 2)
    wait = await admit(db, "a", limit=30)
    assert 0 <= wait <= 2

    await age(db, "a", 2)
    assert [await admit(db, "a", limit=30) for _ in range(3)].count(0) in {1, 2}


@pytest.mark.slow
async def test_no_minute_has_more_requests_than_the_limit(db: Database) -> None:
    """Whatever their spacing is."""
    admitted: list[float] = []
    for passed, attempts in enumerate([3, 0, 5, 1, 0, 0, 9, 2] * 20):
        for _ in range(attempts):
            at = time.time() + passed
            if await admit(db, "a", limit=20) == 0:
                admitted.append(at)
        await age(db, "a", 1)

    assert len(admitted) > 40
    assert max(sum(start <= at < start + 60 for at in admitted) for start in admitted) <= 20


async def test_refused_request_does_not_count(db: Database) -> None:
    """A client that keeps trying is admitted as soon as one that waits."""
    waits = [await admit(db, "a", limit=2) for _ in range(6)]
    await age(db, "a", 61)
    after = [await admit(db, "a", limit=2) for _ in range(3)]

    assert (waits[:2], after[:2]) == ([0, 0], [0, 0])
    assert all(60 <= wait <= 61 for wait in [*waits[2:], after[2]])


@pytest.mark.parametrize(("passed", "expected"), [(0, 61), (30, 31), (59, 2), (60, 1)])
async def test_wait_is_the_time_until_a_place_is_free(db: Database, passed: int, expected: int) -> None:
    """It is in whole seconds."""
    await admit(db, "a", limit=1)
    await age(db, "a", passed)

    # The clock may have reached the next second meanwhile.
    assert await admit(db, "a", limit=1) in {expected, expected - 1}


async def test_lowered_limit_counts_earlier_requests(db: Database) -> None:
    """The wait is for the last request then, not for the first."""
    await admit(db, "a", limit=2)
    await age(db, "a", 20)
    await admit(db, "a", limit=2)

    assert await admit(db, "a", limit=1) in {60, 61}


async def test_row_keeps_its_size(db: Database) -> None:
    """A high limit stores no more than a low one."""
    for _ in range(200):
        await admit(db, "a", limit=1_000_000)
        await age(db, "a", 1)

    assert await db.fetch_all("select cardinality(counts) as seconds from rate_limits") == [{"seconds": 61}]


async def test_clients_have_independent_limits(db: Database) -> None:
    """A request of one client does not count for another."""
    waits = [await admit(db, client, limit=1) for client in ("a", "b", "a")]

    assert (waits[:2], waits[2] > 0) == ([0, 0], True)


async def test_idle_clients_are_forgotten(db: Database) -> None:
    """Rows whose window is empty can be deleted."""
    await admit(db, "a", limit=1)
    await admit(db, "b", limit=1)
    await age(db, "a", 62)

    assert await forget_idle(db) == 1
    assert await db.fetch_all("select client from rate_limits") == [{"client": "b"}]
