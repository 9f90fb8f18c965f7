"""Responses to requests with an Idempotency-Key."""

from dataclasses import dataclass
from typing import Any, Literal

from psycopg.types.json import Jsonb

from storage.database import Database, read_statements

#: A request without a response for this long counts as lost with its process.
IN_PROGRESS_TIMEOUT_SECONDS = 30.0

sql = read_statements("idempotency")


@dataclass(frozen=True)
class CompletedRequest:
    """The request was completed with this response."""

    status_code: int
    body: Any


#: What to do with a request that is not completed: execute it, and then call `complete` or `discard`; wait, because the
#: same request is in progress; or refuse it, because the key was used for another request.
BeginResult = CompletedRequest | Literal["new", "in_progress", "key_reused"]


async def begin(db: Database, actor_id: str, idempotency_key: str, digest: str) -> BeginResult:
    """Register a request of the actor, by the digest of method, path and body; one of concurrent ones is new.

    A request without a response for `IN_PROGRESS_TIMEOUT_SECONDS` can be executed again: its effects must be
    idempotent.
    """
    if await db.execute(sql["begin"], (actor_id, idempotency_key, digest, IN_PROGRESS_TIMEOUT_SECONDS)) == 1:
        return "new"
    row = await db.fetch_one(sql["find"], (actor_id, idempotency_key))
    if row is None:  # discarded just now: the client will send it again
        return "in_progress"
    if row["digest"] != digest:
        return "key_reused"
    if row["status_code"] is None:
        return "in_progress"
    return CompletedRequest(row["status_code"], row["body"])


async def renew(db: Database, actor_id: str, idempotency_key: str) -> None:
    """Extend the time of a request that is still in progress."""
    await db.execute(sql["renew"], (actor_id, idempotency_key))


async def complete(db: Database, actor_id: str, idempotency_key: str, status_code: int, body: Any) -> None:
    """Store the response (`body` is JSON). The first stored response stays."""
    await db.execute(sql["complete"], (status_code, Jsonb(body), actor_id, idempotency_key))


async def discard(db: Database, actor_id: str, idempotency_key: str) -> None:
    """Delete a request whose response is not worth storing, so that it can be sent again."""
    await db.execute(sql["discard"], (actor_id, idempotency_key))
