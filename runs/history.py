"""The history of a run: every revision, decision, take, charge and post in order, with actor and time."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel

from runs.history_entries import HistoryEntry, describe_event, describe_model_charge
from runs.queries import RunCost, Waiting, get_run_view
from storage import decisions, deliveries, events
from storage.database import Database
from storage.ledger import Ledger
from storage.orders import OrderRow

#: Events about the progress of work, which the events of the run contain and its history leaves out.
PROGRESS_EVENTS = ("step.started", "status.changed", "order.reserved", "order.progress", "webhook.received")


class Totals(BaseModel):
    """The sums of the history. `revisions` are by gate, `charged_usd` by kind of order."""

    revisions: dict[str, int]
    decisions: int
    takes: int
    posts: int
    spent_usd: float
    reserved_usd: float
    charged_usd: dict[str, float]


class Notification(BaseModel):
    """A notification about the run. The path of its URL is left out, because it can be a secret."""

    type: str
    host: str
    state: str
    attempts: int
    last_response: str | None
    created_at: datetime
    delivered_at: datetime | None


class History(BaseModel):
    """The history of a run."""

    run_id: UUID
    status: str
    waiting: Waiting | None
    needs_attention: bool
    entries: list[HistoryEntry]
    totals: Totals
    notifications: list[Notification]


async def get_history(db: Database, ledger: Ledger, run_id: UUID) -> History:
    """Return the history of the run in the order in which it was committed. Raises RunNotFound."""
    run = await get_run_view(db, run_id)
    # Read before the orders and decisions, so that those of every event are there.
    recorded = await events.list_events(db, run_id, limit=None)
    orders = await ledger.list_for_run(run_id)
    decisions_by_number = {row.number: row for row in await decisions.list_decisions(db, run_id)}
    orders_by_key = {order.key: order for order in orders}
    described = [
        entry
        for event in recorded
        if event.kind not in PROGRESS_EVENTS
        for entry in describe_event(event, decisions_by_number, orders_by_key)
    ]
    # Model calls have no events: their charges are placed between the events by time.
    charges = [describe_model_charge(order) for order in orders if order.kind == "model" and order.spent_usd]
    charges.sort(key=lambda entry: entry.at)
    entries = list(heapq.merge(described, charges, key=lambda entry: entry.at))
    return History(
        run_id=run_id,
        status=run.status,
        waiting=run.waiting,
        needs_attention=run.needs_attention,
        entries=entries,
        totals=_totals(entries, orders, run.cost),
        notifications=[
            Notification.model_validate(vars(row) | {"type": row.kind, "host": row.url.split("/")[2]})
            for row in await deliveries.list_deliveries(db, run_id)
        ],
    )


def _totals(entries: Sequence[HistoryEntry], orders: Sequence[OrderRow], cost: RunCost) -> Totals:
    charged: defaultdict[str, Decimal] = defaultdict(Decimal)
    for order in orders:
        charged[order.kind] += order.spent_usd or 0
    settled = Counter(order.kind for order in orders if order.state == "settled")
    return Totals(
        revisions={entry.details["gate"]: entry.details["revision"] for entry in entries if entry.kind == "revision"},
        decisions=sum(entry.kind == "decision" for entry in entries),
        takes=settled["clip"],
        posts=settled["publication"],
        spent_usd=cost.spent_usd,
        reserved_usd=cost.reserved_usd,
        charged_usd={kind: round(float(usd), 4) for kind, usd in charged.items() if usd},
    )
