"""The outbox of events to announce, and the deliveries of notifications about them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from storage.database import Connection, Database, fetch_all

DeliveryState = Literal["waiting", "delivered", "abandoned"]


@dataclass(frozen=True)
class OutboxEvent:
    """An event to announce, with the project of its run."""

    id: int
    kind: str
    run_id: UUID
    payload: dict[str, Any]
    created_at: datetime
    project: str


@dataclass(frozen=True)
class DeliveryRow:
    """A row of `deliveries`: a notification. `attempts` includes the one in progress."""

    id: str
    event: int
    url: str
    kind: str
    body: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    last_response: str | None
    created_at: datetime
    delivered_at: datetime | None


TAKE = """
with taken as (
    delete from outbox where event in (select event from outbox order by event limit %s for update skip locked)
    returning event)
select events.id, kind, run_id, payload, events.created_at, runs.project
from taken join events on events.id = taken.event join runs on runs.id = events.run_id order by events.id
"""


async def take_outbox_events(conn: Connection, *, limit: int = 100) -> list[OutboxEvent]:
    """Remove events from the outbox in the caller's transaction, and return them in order."""
    return await fetch_all(conn, TAKE, (limit,), row=OutboxEvent)


# One delivery per event and URL, however often it is added; none for a disabled endpoint.
ADD = """
insert into deliveries (id, event, url, kind, body) select %(id)s, %(event)s, %(url)s, %(kind)s, %(body)s
where not exists (select from disabled_endpoints where url = %(url)s)
on conflict (event, url) do nothing
"""


async def add_delivery(conn: Connection, *, id: str, event: int, url: str, kind: str, body: str) -> None:  # noqa: A002
    """Add a notification to send, in the caller's transaction."""
    await conn.execute(ADD, {"id": id, "event": event, "url": url, "kind": kind, "body": body})


#: A claimed notification is sent within this time; after that its process counts as dead and another sends it.
CLAIM_TIMEOUT = timedelta(seconds=60)

CLAIM_DUE = """
update deliveries set next_attempt_at = now() + %s, attempts = attempts + 1
where id in (select id from deliveries where next_attempt_at <= now() order by next_attempt_at limit %s
             for update skip locked)
returning *
"""
# A delivery counts, whatever was recorded since its attempt was claimed.
RECORD_ATTEMPT = """
update deliveries set state = %(state)s, next_attempt_at = now() + %(retry_in)s::interval,
    last_response = %(response)s, delivered_at = case when %(state)s = 'delivered' then now() end
where id = %(id)s and (state = 'waiting' or %(state)s = 'delivered')
"""
DISABLE = """
with disabled as (insert into disabled_endpoints (url) values (%(url)s) on conflict do nothing)
update deliveries set state = 'abandoned', next_attempt_at = null, last_response = %(response)s
where url = %(url)s and state = 'waiting'
"""


async def claim_due(db: Database, *, limit: int = 20) -> list[DeliveryRow]:
    """Return notifications to send now. Concurrent callers get different ones."""
    return await db.fetch_all(CLAIM_DUE, (CLAIM_TIMEOUT, limit), row=DeliveryRow)


async def record_attempt(
    db: Database, delivery_id: str, state: DeliveryState, response: str, *, retry_in: timedelta | None = None
) -> None:
    """Record the outcome of an attempt. A notification that is still waiting is sent again after `retry_in`."""
    await db.execute(RECORD_ATTEMPT, {"id": delivery_id, "state": state, "response": response, "retry_in": retry_in})


async def disable_endpoint(db: Database, url: str, response: str) -> None:
    """Stop sending to this URL, present and future notifications included."""
    await db.execute(DISABLE, {"url": url, "response": response})


async def enable_endpoints(db: Database) -> None:
    """Enable all disabled URLs, because the service has been restarted and they may work again."""
    await db.execute("delete from disabled_endpoints")


async def list_deliveries(db: Database, run_id: UUID | str) -> list[DeliveryRow]:
    """Return the notifications about a run, oldest first."""
    query = "select d.* from deliveries as d join events on events.id = d.event where run_id = %s order by event, url"
    return await db.fetch_all(query, (run_id,), row=DeliveryRow)
