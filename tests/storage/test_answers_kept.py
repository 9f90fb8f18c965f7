"""The answers to requests with an Idempotency-Key."""

from __future__ import annotations

import asyncio
from collections import Counter

from storage.answers import First, Given, Reused, UnderWay, begin, finish, forget
from storage.pool import Database


async def test_of_many_at_once_one_is_first(db: Database) -> None:
    """The others are told that it is under way."""
    begun = await asyncio.gather(*(begin(db, "me", "k", "digest") for _ in range(10)))

    assert Counter(begun) == {First(): 1, UnderWay(): 9}


async def test_the_same_request_gets_the_same_answer(db: Database) -> None:
    """Another request with the key does not, and another asker's key is another key."""
    await begin(db, "me", "k", "digest")
    await finish(db, "me", "k", 201, {"id": ["ä", None]})
    await finish(db, "me", "k", 500, "late")

    assert await begin(db, "me", "k", "digest") == Given(201, {"id": ["ä", None]})
    assert await begin(db, "me", "k", "other") == Reused()
    assert await begin(db, "you", "k", "other") == First()


async def test_a_key_under_way_is_not_for_another_request(db: Database) -> None:
    """Not even after the first one died."""
    await begin(db, "me", "k", "digest")
    assert await begin(db, "me", "k", "other") == Reused()
    await db.execute("update answers set created_at = now() - interval '1 hour'")

    assert await begin(db, "me", "k", "other") == Reused()


async def test_a_request_that_died_is_taken_over_by_one(db: Database) -> None:
    """Not before thirty seconds; then by one of those who come."""
    await begin(db, "me", "k", "digest")
    await db.execute("update answers set created_at = now() - interval '28 s'")
    assert await begin(db, "me", "k", "digest") == UnderWay()
    await db.execute("update answers set created_at = now() - interval '31 s'")
    begun = await asyncio.gather(*(begin(db, "me", "k", "digest") for _ in range(5)))

    assert Counter(begun) == {First(): 1, UnderWay(): 4}


async def test_an_answer_stays_however_old(db: Database) -> None:
    """Only a request without an answer can be taken over."""
    await begin(db, "me", "k", "digest")
    await finish(db, "me", "k", 200, None)
    await db.execute("update answers set created_at = now() - interval '1 hour'")

    assert await begin(db, "me", "k", "digest") == Given(200, None)


async def test_a_forgotten_request_may_be_made_again(db: Database) -> None:
    """An answer that was given is not forgotten."""
    await begin(db, "me", "k", "digest")
    await forget(db, "me", "k")
    assert await begin(db, "me", "k", "other") == First()
    await finish(db, "me", "k", 200, {})
    await forget(db, "me", "k")

    assert await begin(db, "me", "k", "other") == Given(200, {})
