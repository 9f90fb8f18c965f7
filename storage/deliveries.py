"""The outbox of events to announce, and the deliveries of notifications about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from storage.database import Connection, Database, fetch_all, read_statements

DeliveryState = Literal["waiting", "delivered", "abandoned"]


@dataclass(frozen=True)
class OutboxEvent:
    """An event to announce, with the project, the brief and the film of its run. Some belong to no run."""

    id: int
    kind: str
    run_id: UUID | None
    payload: dict[str, Any]
    created_at: datetime
    project: str
    brief: str
    film: dict[str, Any] | None


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


sql = read_statements("deliveries")


async def take_outbox_events(conn: Connection, *, limit: int = 100) -> list[OutboxEvent]:
    """Remove events from the outbox in the caller's transaction, and return them in order."""
    return await fetch_all(conn, sql["take"], (limit,), row=OutboxEvent)


async def announce(db: Database, day_usd: Decimal, share: Decimal, models: Sequence[Mapping[str, str]]) -> None:
    """Record an event, once each, for caps of which this share (0..1) is used, and for models that are shut down soon.

    `day_usd` is the cap of the day, in USD. Each model has `provider`, `model` and `shutdown`.
    """
    await db.execute(sql["announce"], {"day_usd": day_usd, "share": share, "models": Jsonb(models)})


async def add_delivery(conn: Connection, *, id: str, event: int, url: str, kind: str, body: str) -> None:  # noqa: A002
    """Add a notification to send, in the caller's transaction."""
    await conn.execute(sql["add"], {"id": id, "event": event, "url": url, "kind": kind, "body": body})


#: A claimed notification is sent within this time; after that its process counts as dead and another sends it.
CLAIM_TIMEOUT = timedelta(seconds=60)


async def claim_due(db: Database, *, limit: int = 20) -> list[DeliveryRow]:
    """Return notifications to send now. Concurrent callers get different ones."""
    return await db.fetch_all(sql["claim_due"], (CLAIM_TIMEOUT, limit), row=DeliveryRow)


async def record_attempt(
    db: Database, delivery_id: str, state: DeliveryState, response: str, *, retry_in: timedelta | None = None
) -> None:
    """Record the outcome of an attempt. A notification that is still waiting is sent again after `retry_in`."""
    values = {"id": delivery_id, "state": state, "response": response, "retry_in": retry_in}
    await db.execute(sql["record_attempt"], values)


async def disable_endpoint(db: Database, url: str, response: str) -> None:
    """Stop sending to this URL, present and future notifications included."""
    await db.execute(sql["disable"], {"url": url, "response": response})


async def enable_endpoints(db: Database) -> None:
    """Enable all disabled URLs, because the service has been restarted and they may work again."""
    await db.execute("delete from disabled_endpoints")


async def list_deliveries(db: Database, run_id: UUID | str) -> list[DeliveryRow]:
    """Return the notifications about a run, oldest first."""
    return await db.fetch_all(sql["of_run"], (run_id,), row=DeliveryRow)
