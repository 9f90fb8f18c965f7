"""The answers already given to requests with an Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from storage.database import Database

IN_PROGRESS_TIMEOUT_SECONDS = 30.0  # seconds after which a request without an answer counts as died with its process

# The first to insert goes first; so does the first that comes for one that died.
BEGIN = """
insert into answers as a (asked_by, key, digest) values (%(asked_by)s, %(key)s, %(digest)s)
on conflict (asked_by, key) do update set created_at = clock_timestamp()
    where a.status_code is null and a.digest = excluded.digest
      and a.created_at < clock_timestamp() - make_interval(secs => %(patience)s)
"""


@dataclass(frozen=True)
class NewRequest:
    """Do it, then `finish` or `forget`."""


@dataclass(frozen=True)
class CompletedRequest:
    """It was done; this was the answer."""

    status_code: int
    body: Any


@dataclass(frozen=True)
class KeyReused:
    """The key was used for another request."""


@dataclass(frozen=True)
class RequestInProgress:
    """The same request is being done by somebody else right now."""


BeginResult = NewRequest | CompletedRequest | KeyReused | RequestInProgress


async def begin(db: Database, asked_by: str, key: str, digest: str) -> BeginResult:
    """What to do with a request; `digest` is over its method, path and body. One of many at once is First.

    After `PATIENCE` seconds without an answer the request may be begun again: what it does must bear that.
    """
    params = {"asked_by": asked_by, "key": key, "digest": digest, "patience": IN_PROGRESS_TIMEOUT_SECONDS}
    if await db.execute(BEGIN, params) == 1:
        return NewRequest()
    row = await db.fetch_one(
        "select digest, status_code, body from answers where asked_by = %(asked_by)s and key = %(key)s",
        params,
    )
    if row is None:  # forgotten just now: the client will ask again
        return RequestInProgress()
    if row["digest"] != digest:
        return KeyReused()
    if row["status_code"] is None:
        return RequestInProgress()
    return CompletedRequest(row["status_code"], row["body"])


async def renew(db: Database, asked_by: str, key: str) -> None:
    """The request is still being done: it has not died with its process."""
    await db.execute(
        "update answers set created_at = clock_timestamp() where asked_by = %s and key = %s and status_code is null",
        (asked_by, key),
    )


async def complete(db: Database, asked_by: str, key: str, status_code: int, body: Any) -> None:
    """Keep the answer (`body` is JSON). The first one kept stays."""
    await db.execute(
        "update answers set status_code = %s, body = %s where asked_by = %s and key = %s and status_code is null",
        (status_code, Jsonb(body), asked_by, key),
    )


async def discard(db: Database, asked_by: str, key: str) -> None:
    """Let the request be made again, because it came to no answer worth keeping; a kept answer stays."""
    await db.execute("delete from answers where asked_by = %s and key = %s and status_code is null", (asked_by, key))
