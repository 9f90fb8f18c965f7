"""Rate limits."""

from __future__ import annotations

import asyncio

import pytest

from storage.database import Database, open_pool
from storage.rate_limits import admit, forget_idle


async def age_hits(db: Database, client: str, seconds: float) -> None:
    """Move all requests of the client into the past."""
    await db.execute(
        "update rate_limit_hits set hits = array(select hit - make_interval(secs => %s) from unnest(hits) as hit) "
        "where client = %s",
        (seconds, client),
    )


async def test_limit_is_exact_across_processes(database_url: str) -> None:
    """Of a hundred concurrent requests over two pools sixty are admitted; the others get the time to wait."""
    async with open_pool(database_url, max_size=5) as one, open_pool(database_url, max_size=5) as two:
        waits = await asyncio.gather(*(admit(Database(pool), "a") for pool in (one, two) * 50))

    assert waits.count(0) == 60
    assert all(55 <= wait <= 60 for wait in waits if wait)


async def test_spaced_requests_have_the_same_limit(db: Database) -> None:
    """Sixty requests within a minute fill it; a place is free a minute after the first."""
    for _ in range(60):
        assert await admit(db, "a") == 0
        await age_hits(db, "a", 0.9)
    wait = await admit(db, "a")
    assert 1 <= wait <= 6

    await age_hits(db, "a", wait)
    # Rounding up to a whole second may free a second place, 0.9 s after the first.
    assert [await admit(db, "a") for _ in range(4)].count(0) in {1, 2}


async def test_refused_request_does_not_count(db: Database) -> None:
    """A client that keeps trying is admitted as soon as one that waits."""
    waits = [await admit(db, "a", limit=2) for _ in range(6)]
    await age_hits(db, "a", 60)
    after = [await admit(db, "a", limit=2) for _ in range(3)]

    assert waits == [0, 0, 60, 60, 60, 60]
    assert after == [0, 0, 60]


@pytest.mark.parametrize(("passed", "expected"), [(0, 60), (30, 30), (59.5, 1)])
async def test_wait_is_in_whole_seconds(db: Database, passed: float, expected: int) -> None:
    """The time left is rounded up."""
    await admit(db, "a", limit=1)
    await age_hits(db, "a", passed)

    assert await admit(db, "a", limit=1) == expected


async def test_lowered_limit_counts_earlier_requests(db: Database) -> None:
    """The wait is for the last request then, not for the first."""
    await admit(db, "a", limit=2)
    await age_hits(db, "a", 20)
    await admit(db, "a", limit=2)

    assert await admit(db, "a", limit=1) == 60


async def test_clients_have_independent_limits(db: Database) -> None:
    """A request of one client does not count for another."""
    assert [await admit(db, client, limit=1) for client in ("a", "b", "a")] == [0, 0, 60]


async def test_idle_clients_are_forgotten(db: Database) -> None:
    """Rows whose window is empty can be deleted."""
    await admit(db, "a")
    await admit(db, "b")
    await age_hits(db, "a", 61)

    assert await forget_idle(db) == 1
    assert await db.fetch_all("select client from rate_limit_hits") == [{"client": "b"}]
