"""What happened and what we were told, append-only: the inbox of `advance` and the feed that people follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from storage.database import Database


class Event(TypedDict):
    """One row of a run's feed. `seq` grows in the order in which the rows were committed."""

    seq: int
    kind: str
    source: str
    subject: str | None
    payload: dict[str, Any]
    created_at: Any


# The number is drawn from the run's own row, whose lock is held until the commit: a reader who has seen number n
# will never be shown a smaller one later. A thing told twice draws a number and leaves it unused.
RECORD = """
with numbered as (
    update runs set last_seq = last_seq + 1 where id = %(run_id)s::uuid returning last_seq)
insert into events (source, external_id, run_id, seq, kind, subject, payload)
select %(source)s, %(external_id)s, %(run_id)s::uuid, (select last_seq from numbered), %(kind)s, %(subject)s,
       %(payload)s
on conflict (source, external_id) do nothing
returning id
"""


async def record_event(
    conn: AsyncConnection[Any],
    *,
    source: str,
    kind: str,
    run_id: UUID | str | None = None,
    external_id: str | None = None,
    subject: str | None = None,
    payload: Mapping[str, Any] | None = None,
) -> bool:
    """Write down one event inside the caller's transaction; False if `source` already told us `external_id`."""
    cursor = await conn.execute(
        RECORD,
        {
            "run_id": run_id,
            "source": source,
            "external_id": external_id or str(uuid4()),
            "kind": kind,
            "subject": subject,
            "payload": Jsonb(dict(payload or {})),
        },
    )
    return await cursor.fetchone() is not None


async def list_events(db: Database, run_id: UUID | str, *, after: int = 0, limit: int = 500) -> list[Event]:
    """The events of a run numbered above `after`, in order."""
    rows = await db.fetch_all(
        "select seq, kind, source, subject, payload, created_at from events"
        " where run_id = %s and seq > %s order by seq limit %s",
        (run_id, after, limit),
    )
    return [Event(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys


async def last_event(db: Database, run_id: UUID | str, kind: str) -> Event | None:
    """The newest event of this kind that a run has."""
    row = await db.fetch_one(
        "select seq, kind, source, subject, payload, created_at from events where run_id = %s and kind = %s"
        " order by seq desc limit 1",
        (run_id, kind),
    )
    return Event(**row) if row else None  # type: ignore[typeddict-item]  # the columns are its keys
