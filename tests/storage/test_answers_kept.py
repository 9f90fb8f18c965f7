"""The answers to requests with an Idempotency-Key."""

from __future__ import annotations

import asyncio
from collections import Counter

from storage.database import Database
from storage.idempotency import CompletedRequest, KeyReused, NewRequest, RequestInProgress, begin, complete, discard


async def test_of_many_at_once_one_is_first(db: Database) -> None:
    """The others are told that it is under way."""
    begun = await asyncio.gather(*(begin(db, "me", "k", "digest") for _ in range(10)))

    assert Counter(begun) == {NewRequest(): 1, RequestInProgress(): 9}


async def test_the_same_request_gets_the_same_answer(db: Database) -> None:
    """Another request with the key does not, and another asker's key is another key."""
    await begin(db, "me", "k", "digest")
    await complete(db, "me", "k", 201, {"id": ["ä", None]})
    await complete(db, "me", "k", 500, "late")

    assert await begin(db, "me", "k", "digest") == CompletedRequest(201, {"id": ["ä", None]})
    assert await begin(db, "me", "k", "other") == KeyReused()
    assert await begin(db, "you", "k", "other") == NewRequest()


async def test_a_key_under_way_is_not_for_another_request(db: Database) -> None:
    """Not even after the first one died."""
    await begin(db, "me", "k", "digest")
    assert await begin(db, "me", "k", "other") == KeyReused()
    await db.execute("update answers set created_at = now() - interval '1 hour'")

    assert await begin(db, "me", "k", "other") == KeyReused()


async def test_a_request_that_died_is_taken_over_by_one(db: Database) -> None:
    """Not before thirty seconds; then by one of those who come."""
    await begin(db, "me", "k", "digest")
    await db.execute("update answers set created_at = now() - interval '28 s'")
    assert await begin(db, "me", "k", "digest") == RequestInProgress()
    await db.execute("update answers set created_at = now() - interval '31 s'")
    begun = await asyncio.gather(*(begin(db, "me", "k", "digest") for _ in range(5)))

    assert Counter(begun) == {NewRequest(): 1, RequestInProgress(): 4}


async def test_an_answer_stays_however_old(db: Database) -> None:
    """Only a request without an answer can be taken over."""
    await begin(db, "me", "k", "digest")
    await complete(db, "me", "k", 200, None)
    await db.execute("update answers set created_at = now() - interval '1 hour'")

    assert await begin(db, "me", "k", "digest") == CompletedRequest(200, None)


async def test_a_forgotten_request_may_be_made_again(db: Database) -> None:
    """An answer that was given is not forgotten."""
    await begin(db, "me", "k", "digest")
    await discard(db, "me", "k")
    assert await begin(db, "me", "k", "other") == NewRequest()
    await complete(db, "me", "k", 200, {})
    await discard(db, "me", "k")

    assert await begin(db, "me", "k", "other") == CompletedRequest(200, {})
