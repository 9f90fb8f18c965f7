"""Events, append-only: what happened in each run, and the webhooks received for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from storage.actors import RequestContext
from storage.database import Database, fetch_one


@dataclass(frozen=True)
class Event:
    """An event of a run. `seq` grows in the order in which the events were committed."""

    seq: int
    kind: str
    source: str
    subject: str | None
    payload: dict[str, Any]
    created_at: datetime


# The number is drawn from the run's own row, which stays locked until the commit: no smaller number can appear after
# a reader has seen this one. A repeated event draws a number and leaves it unused.
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
    """Record an event in the caller's transaction. Return False if `source` has already sent `external_id`."""
    values = {
        "run_id": run_id,
        "source": source,
        "external_id": external_id or str(uuid4()),
        "kind": kind,
        "subject": subject,
        "payload": Jsonb(dict(payload or {})),
    }
    return await fetch_one(conn, RECORD, values) is not None


async def list_events(db: Database, run_id: UUID | str, *, after: int = 0, limit: int = 500) -> list[Event]:
    """Return the events of a run with a `seq` above `after`, in order."""
    return await db.fetch_all(
        "select seq, kind, source, subject, payload, created_at from events"
        " where run_id = %s and seq > %s order by seq limit %s",
        (run_id, after, limit),
        row=Event,
    )


async def last_event(db: Database, run_id: UUID | str, kind: str) -> Event | None:
    """Return the newest event of this kind of a run, or None."""
    return await db.fetch_one(
        "select seq, kind, source, subject, payload, created_at from events where run_id = %s and kind = %s"
        " order by seq desc limit 1",
        (run_id, kind),
        row=Event,
    )


async def record_link_created(
    db: Database, run_id: UUID, context: RequestContext, nonce: str, payload: Mapping[str, Any]
) -> None:
    """Record that a reviewer's link was created. The link itself is not stored."""
    async with db.transaction() as conn:
        await record_event(
            conn,
            source=context.channel,
            kind="link.created",
            run_id=run_id,
            external_id=f"link:{nonce}",
            payload={"actor": context.actor.as_json(), **payload},
        )
