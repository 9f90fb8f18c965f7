"""Events, append-only: what happened in each run, and the webhooks received for it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args
from uuid import UUID, uuid4

from psycopg.sql import SQL, Composable, Composed

from storage.actors import Channel, RequestContext
from storage.database import Connection, Database, read_statements
from telemetry.logs import identified

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """An event of a run. `seq` grows in the order in which the events were committed."""

    seq: int
    kind: str
    source: str
    subject: str | None
    payload: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class ReviewLink:
    """A link to revision `revision` of `gate`, which shows `digest`. `nonce` is the id of the link."""

    run_id: UUID
    gate: str
    revision: int
    digest: str
    expires_at: datetime
    nonce: str
    creator_kind: str
    creator_id: str


sql = read_statements("events")
NUMBERED_EVENT = sql["numbered_event"]


async def record_event(
    conn: Connection,
    source: str,
    kind: str,
    run_id: UUID | str | None,
    payload: Mapping[str, Any],
    *,
    subject: str | None = None,
    dedup_key: str | None = None,
) -> bool:
    """Record an event in the caller's transaction. Return False if `source` has already sent `dedup_key`."""
    values = (run_id, run_id, source, dedup_key or str(uuid4()), kind, subject, dict(payload))
    is_new = (await conn.execute(sql["record"], values)).rowcount == 1
    if is_new:
        with identified(subject if run_id and subject else str(run_id or "")):
            log.info("%s: %s", subject or run_id, kind)
    return is_new


def with_event(change: Composable) -> Composed:
    """Return the statement that changes an order, and records an event of its run if one row was changed.

    `change` returns `run_id`. The event is given by further parameters: see `event_values`.
    """
    return SQL(sql["change_with_event"]).format(change)


def event_values(
    source: str, kind: str | None, payload: Mapping[str, Any] | None, *, subject: str | None = None, wakes: bool = False
) -> dict[str, object]:
    """Return the parameters of an event that a statement records. `wakes` makes the run due."""
    values = {"source": source, "kind": kind, "payload": payload, "subject": subject, "wakes": wakes}
    return {f"event_{name}": value for name, value in values.items()}


@dataclass(frozen=True)
class RecordedWebhook:
    """Whether a webhook was recorded now or before, and the order that it is about, if it is known."""

    is_new: bool
    order_key: str | None


@dataclass(frozen=True)
class Webhook:
    """A webhook about a task. `order_key` is a hint to an order whose task is not known, `run_id` one to a run."""

    webhook_id: str
    source: str
    provider: str
    task_id: str
    payload: dict[str, Any]
    run_id: UUID | None = None
    order_key: str | None = None


async def record_webhook(db: Database, webhook: Webhook) -> RecordedWebhook:
    """Record a webhook once, and make the order of its task due for a poll. `run_id` counts for an unknown task."""
    row = await db.change(sql["record_webhook"], vars(webhook), row=RecordedWebhook)
    assert row is not None  # noqa: S101 - the statement returns one row
    return row


async def list_events(db: Database, run_id: UUID | str, *, after: int = 0, limit: int | None = 500) -> list[Event]:
    """Return the events of a run with a `seq` above `after`, in order; all of them without a limit."""
    return await db.fetch_all(sql["after"], (run_id, after, limit), row=Event)


async def last_event(db: Database, run_id: UUID | str, kind: str) -> Event | None:
    """Return the newest event of this kind of a run, or None."""
    return await db.fetch_one(sql["last_of_kind"], (run_id, kind), row=Event)


async def record_link(db: Database, link: ReviewLink, context: RequestContext) -> None:
    """Record that a reviewer's link was created. The link itself is not stored."""
    fields = {"gate": link.gate, "revision": link.revision, "digest": link.digest, "link": link.nonce}
    payload = {"actor": context.actor.as_json(), **fields, "expires_at": link.expires_at.isoformat()}
    async with db.transaction() as conn:
        await record_event(conn, context.channel, "link.created", link.run_id, payload, dedup_key=f"link:{link.nonce}")


async def find_link(db: Database, nonce: str) -> ReviewLink | None:
    """Return the reviewer's link with this id from the event of its creation, or None."""
    return await db.fetch_one(sql["find_link"], (list(get_args(Channel)), f"link:{nonce}"), row=ReviewLink)
