"""Responses to requests with an Idempotency-Key."""

from __future__ import annotations

import asyncio
from collections import Counter

from storage.database import Database
from storage.idempotency import CompletedRequest, begin, complete, discard


async def test_one_of_many_concurrent_requests_is_new(db: Database) -> None:
    """The others are in progress."""
    results = await asyncio.gather(*(begin(db, "me", "k", "digest") for _ in range(10)))

    assert Counter(results) == {"new": 1, "in_progress": 9}


async def test_repeated_request_gets_the_stored_response(db: Database) -> None:
    """Another request with the key does not, and keys of different actors are independent."""
    await begin(db, "me", "k", "digest")
    await complete(db, "me", "k", 201, {"id": ["ä", None]})
    await complete(db, "me", "k", 500, "late")

    assert await begin(db, "me", "k", "digest") == CompletedRequest(201, {"id": ["ä", None]})
    assert await begin(db, "me", "k", "other") == "key_reused"
    assert await begin(db, "you", "k", "other") == "new"


async def test_key_in_progress_is_not_usable_for_another_request(db: Database) -> None:
    """Not even after the first request was lost."""
    await begin(db, "me", "k", "digest")
    assert await begin(db, "me", "k", "other") == "key_reused"
    await db.execute("update idempotency_records set created_at = now() - interval '1 hour'")

    assert await begin(db, "me", "k", "other") == "key_reused"


async def test_lost_request_is_taken_over_once(db: Database) -> None:
    """One of the repeated requests executes it, after thirty seconds and not before."""
    await begin(db, "me", "k", "digest")
    await db.execute("update idempotency_records set created_at = now() - interval '28 s'")
    assert await begin(db, "me", "k", "digest") == "in_progress"
    await db.execute("update idempotency_records set created_at = now() - interval '31 s'")
    results = await asyncio.gather(*(begin(db, "me", "k", "digest") for _ in range(5)))

    assert Counter(results) == {"new": 1, "in_progress": 4}


async def test_stored_response_does_not_expire(db: Database) -> None:
    """Only a request without a response can be taken over."""
    await begin(db, "me", "k", "digest")
    await complete(db, "me", "k", 200, None)
    await db.execute("update idempotency_records set created_at = now() - interval '1 hour'")

    assert await begin(db, "me", "k", "digest") == CompletedRequest(200, None)


async def test_discarded_request_can_be_sent_again(db: Database) -> None:
    """A completed request cannot be discarded."""
    await begin(db, "me", "k", "digest")
    await discard(db, "me", "k")
    assert await begin(db, "me", "k", "other") == "new"
    await complete(db, "me", "k", 200, {})
    await discard(db, "me", "k")

    assert await begin(db, "me", "k", "other") == CompletedRequest(200, {})
