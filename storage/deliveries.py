"""The notices to be sent: which events are still to be told, to whom, and what came of each try."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from storage.database import Connection, Database


class OutboxEvent(TypedDict):
    """An event that somebody outside has to be told of, and the run that it is about."""

    id: int
    kind: str
    run_id: UUID
    payload: dict[str, Any]
    created_at: datetime
    project: str
    options: dict[str, int]


class DeliveryRow(TypedDict):
    """A notice whose next try has come."""

    id: str
    url: str
    kind: str
    body: str
    tries: int


TAKE = """
with taken as (
    delete from untold where event in (select event from untold order by event limit %s for update skip locked)
    returning event)
select events.id, kind, run_id, payload, events.created_at, runs.project, runs.options
from taken join events on events.id = taken.event join runs on runs.id = events.run_id order by events.id
"""


async def take_outbox_events(conn: Connection, *, limit: int = 100) -> list[OutboxEvent]:
    """Events to be told, in order: they count as told when the caller's transaction is committed."""
    rows = await (await conn.execute(TAKE, (limit,))).fetchall()
    return [OutboxEvent(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys


# An event is told to an address once, however often this is asked for; a closed address is told nothing.
ADD = """
insert into deliveries (id, event, url, kind, body)
select %(id)s, %(event)s, %(url)s, %(kind)s, %(body)s
where not exists (select from disabled_endpoints where url = %(url)s)
on conflict (event, url) do nothing
"""


async def add_delivery(conn: Connection, *, id: str, event: int, url: str, kind: str, body: str) -> None:  # noqa: A002
    """Write a notice down to be sent, in the caller's transaction."""
    await conn.execute(ADD, {"id": id, "event": event, "url": url, "kind": kind, "body": body})


# Who takes a notice has this long to send it; after that its process counts as dead, and another sends it.
LEASE = timedelta(seconds=60)

DUE = """
update deliveries set next_try_at = now() + %(lease)s, tries = tries + 1
where id in (select id from deliveries where next_try_at <= now() order by next_try_at limit %(limit)s
             for update skip locked)
returning id, url, kind, body, tries
"""


async def claim_due(db: Database, *, limit: int = 20) -> list[DeliveryRow]:
    """Notices to be sent now; `tries` counts this one. Any number of processes may ask at once."""
    rows = await db.fetch_all(DUE, {"limit": limit, "lease": LEASE})
    return [DeliveryRow(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys


async def mark_delivered(db: Database, id: str, answer: str) -> None:  # noqa: A002 - its column
    """Write down that a notice arrived."""
    await db.execute(
        "update deliveries set state = 'delivered', next_try_at = null, last_answer = %s, delivered_at = now()"
        " where id = %s",
        (answer, id),
    )


async def reschedule(db: Database, id: str, after: timedelta, answer: str) -> None:  # noqa: A002 - its column
    """Try a notice again after a while."""
    await db.execute(
        "update deliveries set next_try_at = now() + %s, last_answer = %s where id = %s and state = 'waiting'",
        (after, answer, id),
    )


async def abandon(db: Database, id: str, answer: str) -> None:  # noqa: A002 - its column
    """Try a notice no more."""
    await db.execute(
        "update deliveries set state = 'given_up', next_try_at = null, last_answer = %s where id = %s",
        (answer, id),
    )


async def disable_endpoint(db: Database, url: str, answer: str) -> None:
    """Send nothing to this address any more: neither what waits, nor what is still to come."""
    async with db.transaction() as conn:
        await conn.execute("insert into disabled_endpoints (url) values (%s) on conflict (url) do nothing", (url,))
        await conn.execute(
            "update deliveries set state = 'given_up', next_try_at = null, last_answer = %s"
            " where url = %s and state = 'waiting'",
            (answer, url),
        )


async def enable_endpoints(db: Database) -> None:
    """Try closed addresses again: the program was started anew, perhaps because they work now."""
    await db.execute("delete from disabled_endpoints")


async def list_deliveries(db: Database, run_id: UUID | str) -> list[dict[str, Any]]:
    """Every notice about a run, oldest first."""
    return await db.fetch_all(
        """select deliveries.id, url, deliveries.kind, state, tries, last_answer, deliveries.created_at, delivered_at
        from deliveries join events on events.id = deliveries.event
        where events.run_id = %s order by event, url""",
        (run_id,),
    )
