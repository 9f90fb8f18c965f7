"""The history of a run: every revision, decision, take, charge and post in order, with actor and time."""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from runs.history_entries import HistoryEntry, describe_decision, describe_event, describe_model_charge
from runs.queries import RunCost, Waiting, check_kept, get_run_view
from storage import decisions, deliveries, events
from storage.actors import Actor
from storage.database import Database
from storage.events import Event
from storage.ledger import Ledger
from storage.orders import OrderRow
from storage.reviews import record_served

#: Entries about the progress of work, which the history leaves out.
PROGRESS = ("step", "wait", "reservation", "progress", "webhook")


class Moment(BaseModel):
    """The entries of the event `seq`, before them the charges of model calls since the previous event."""

    seq: int
    entries: list[HistoryEntry]


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


async def get_history(db: Database, ledger: Ledger, run_id: UUID, *, served_to: Actor | None = None) -> History:
    """Return the history of the run in the order in which it was committed. Raises RunNotFound or RunPruned.

    Record to which actor its opened reviews, which it contains, are served.
    """
    run = await get_run_view(db, run_id)
    check_kept(run)
    moments = await list_moments(db, ledger, run_id)
    orders = await ledger.list_for_run(run_id)
    entries = [entry for moment in moments for entry in moment.entries if entry.kind not in PROGRESS]
    if served_to:
        await record_served(db, served_to, run_id, (entry.details for entry in entries if entry.kind == "revision"))
    notifications = [
        Notification.model_validate(vars(row) | {"type": row.kind, "host": row.url.split("/")[2]})
        for row in await deliveries.list_deliveries(db, run_id)
    ]
    totals = _totals(entries, orders, run.cost)
    return History.model_validate({**vars(run), "entries": entries, "totals": totals, "notifications": notifications})


async def list_moments(db: Database, ledger: Ledger, run_id: UUID) -> list[Moment]:
    """Return everything that happened in the run, the progress of its work included, oldest first.

    The last one, with the number 0, has the charges of model calls since the last event.
    """
    # Read before the orders and decisions, so that those of every event are there.
    recorded = await events.list_events(db, run_id, limit=None)
    orders = {order.key: order for order in await ledger.list_for_run(run_id)}
    decisions_by_number = {row.number: row for row in await decisions.list_decisions(db, run_id)}
    # Model calls have no events: their charges are placed between the events by time.
    models = [order for order in orders.values() if order.kind == "model" and order.spent_usd]
    charges = deque(sorted(map(describe_model_charge, models), key=lambda entry: entry.at))
    moments, checkpoints = list[Moment](), dict[tuple[str, int], str | None]()
    for event in recorded:
        entries = []
        while charges and charges[0].at <= event.created_at:
            entries.append(charges.popleft())
        entries += describe_event(event, decisions_by_number, orders)
        _add_checkpoint(event, entries[-1].details, checkpoints)
        moments.append(Moment(seq=event.seq, entries=entries))
    return [*moments, Moment(seq=0, entries=list(charges))]


async def list_kept_moments(db: Database, run_id: UUID) -> list[Moment]:
    """Return what is left of the moments of a pruned run: its decisions without their words, in one of number 0."""
    rows = await decisions.list_decisions(db, run_id)
    return [Moment(seq=0, entries=[describe_decision(row, 0, row.decided_at) for row in rows])]


def _add_checkpoint(event: Event, details: dict[str, Any], checkpoints: dict[tuple[str, int], str | None]) -> None:
    """Keep the checkpoint of a review that was opened, and add it to the decision about that review."""
    if event.kind == "review.opened":
        checkpoints[details["gate"], details["revision"]] = details.get("checkpoint")
    elif event.kind == "decision.recorded":
        details["checkpoint"] = checkpoints.get((details["gate"], details["revision"]))


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
