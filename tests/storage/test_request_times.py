"""How often somebody may ask."""

from __future__ import annotations

import asyncio

import pytest

from storage.database import Database, open_pool
from storage.rate_limits import admit, forget_idle


async def earlier(db: Database, who: str, seconds: float) -> None:
    """Let time pass for `who`: move all its requests into the past."""
    await db.execute(
        "update rate_limit_hits set hits = array(select hit - make_interval(secs => %s) from unnest(hits) as hit) "
        "where who = %s",
        (seconds, who),
    )


async def test_exactly_the_limit_is_admitted_among_all_processes(database_url: str) -> None:
    """Of a hundred requests over two pools at once sixty are admitted, and the others told how long to wait."""
    async with open_pool(database_url, max_size=5) as one, open_pool(database_url, max_size=5) as two:
        answers = await asyncio.gather(*(admit(Database(pool), "a") for pool in (one, two) * 50))

    assert answers.count(0) == 60
    assert all(55 <= answer <= 60 for answer in answers if answer)


async def test_spaced_requests_have_the_same_limit(db: Database) -> None:
    """Sixty within less than a minute fill it: a place is free again a minute after the first."""
    for _ in range(60):
        assert await admit(db, "a") == 0
        await earlier(db, "a", 0.9)
    wait = await admit(db, "a")
    assert 1 <= wait <= 6

    await earlier(db, "a", wait)
    # What was rounded up to a whole second may free a second place, 0.9 s after the first.
    assert [await admit(db, "a") for _ in range(4)].count(0) in {1, 2}


async def test_a_refused_request_does_not_count(db: Database) -> None:
    """Whoever asks on and on in vain is admitted as soon as whoever waits."""
    answers = [await admit(db, "a", limit=2) for _ in range(6)]
    await earlier(db, "a", 60)
    after = [await admit(db, "a", limit=2) for _ in range(3)]

    assert answers == [0, 0, 60, 60, 60, 60]
    assert after == [0, 0, 60]


@pytest.mark.parametrize(("passed", "expected"), [(0, 60), (30, 30), (59.5, 1)])
async def test_the_wait_is_told_in_whole_seconds(db: Database, passed: float, expected: int) -> None:
    """As many as are left, rounded up."""
    await admit(db, "a", limit=1)
    await earlier(db, "a", passed)

    assert await admit(db, "a", limit=1) == expected


async def test_a_lowered_limit_counts_what_was_asked_before(db: Database) -> None:
    """The wait is for the last request then, not for the first."""
    await admit(db, "a", limit=2)
    await earlier(db, "a", 20)
    await admit(db, "a", limit=2)

    assert await admit(db, "a", limit=1) == 60


async def test_everybody_has_a_limit_of_his_own(db: Database) -> None:
    """What one asks does not count for another."""
    assert [await admit(db, who, limit=1) for who in ("a", "b", "a")] == [0, 0, 60]


async def test_who_stays_away_is_forgotten(db: Database) -> None:
    """Rows whose window is empty can be removed."""
    await admit(db, "a")
    await admit(db, "b")
    await earlier(db, "a", 61)

    assert await forget_idle(db) == 1
    assert await db.fetch_all("select who from rate_limit_hits") == [{"who": "b"}]
