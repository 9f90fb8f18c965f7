"""The record of a run: every revision, decision, take, charge and post in order, with who and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from typing_extensions import TypedDict  # pydantic reads them too, and needs this one before Python 3.12

from runs.queries import get_run
from runs.services import Services
from storage import decisions, deliveries, events
from storage import runs as table
from storage.decisions import DecisionRow
from storage.events import Event
from storage.orders import OrderRow

#: Events that say how work goes on, and nothing that happened: the feed has them, the record does not need them.
QUIET = ("step.started", "status.changed", "order.reserved", "order.progress", "webhook.received")
PAGE = 500

#: What an order is called in the record, and in a sentence.
WHAT = {"clip": "take", "render": "render", "publication": "post", "model": "model"}


class HistoryEntry(TypedDict):
    """One thing that happened. `who` is a key, a link, a provider, or the part of the service that did it."""

    at: datetime
    what: str
    who: str
    text: str
    details: dict[str, Any]


class Totals(TypedDict):
    """What it all came to. `charged_usd` is by kind of order."""

    revisions: dict[str, int]
    decisions: int
    takes: int
    posts: int
    spent_usd: float
    reserved_usd: float
    charged_usd: dict[str, float]


class History(TypedDict):
    """The record. `notices` are those sent, or to be sent, to addresses outside."""

    run_id: str
    status: str
    lines: list[HistoryEntry]
    totals: Totals
    notices: list[dict[str, Any]]


async def get_history(services: Services, run_id: UUID) -> History:
    """Everything that happened in a run, in the order in which it was committed. Raises RunNotFound."""
    run = await get_run(services, run_id)
    orders = await services.ledger.list_for_run(run_id)
    teller = _Teller(
        {row["number"]: row for row in await decisions.list_decisions(services.db, run_id)},
        {order["key"]: order for order in orders},
    )
    lines: list[HistoryEntry] = []
    # Answers of the language model are in the ledger alone: each takes its place among the events by its time.
    charged = (order for order in orders if order["kind"] == "model" and order["spent_usd"])
    answers = sorted(charged, key=lambda order: order["settled_at"] or order["created_at"])
    for event in await _all_events(services, run_id):
        while answers and (answers[0]["settled_at"] or event["created_at"]) < event["created_at"]:
            lines += _answer(answers.pop(0))
        if event["kind"] not in QUIET:
            lines += teller.lines(event)
    for order in answers:
        lines += _answer(order)
    costs = await table.run_costs(services.db, run_id)
    return History(
        run_id=str(run_id),
        status=run["status"],
        lines=lines,
        totals=_totals(lines, orders, costs["reserved"], costs["spent"]),
        notices=[_notice(row) for row in await deliveries.list_deliveries(services.db, run_id)],
    )


async def _all_events(services: Services, run_id: UUID) -> list[Event]:
    found: list[Event] = []
    while True:
        page = await events.list_events(services.db, run_id, after=found[-1]["seq"] if found else 0, limit=PAGE)
        found += page
        if len(page) < PAGE:
            return found


class _Teller:
    """Says what an event means, with the decisions and the orders at hand."""

    def __init__(self, made: dict[int, DecisionRow], orders: dict[str, OrderRow]) -> None:
        self.made = made
        self.orders = orders
        self.told: dict[str, Callable[[Event], list[HistoryEntry]]] = {
            "run.started": self._started,
            "review.opened": self._opened,
            "review.reminded": self._overdue,
            "review.escalated": self._overdue,
            "link.created": self._link,
            "decision.recorded": self._decided,
            "order.submitted": self._ordered,
            "order.settled": self._made,
            "order.failed": self._failed,
            "order.refused": self._failed,
            "order.outcome_unknown": self._unknown,
            "order.submit_timed_out": self._unsure,
            "charge.duplicate": self._twice,
            "cancel.requested": self._asked("cancel", "The run was cancelled."),
            "retry.requested": self._asked("retry", "The run was tried again."),
            "run.completed": self._ended,
            "run.failed": self._ended,
        }

    def lines(self, event: Event) -> list[HistoryEntry]:
        """What this event means; an event that is not known is told all the same."""
        return self.told.get(event["kind"], self._other)(event)

    def _other(self, event: Event) -> list[HistoryEntry]:
        said = event["kind"].replace(".", " ").replace("_", " ").capitalize()
        return [_line(event, event["kind"].partition(".")[0], event["source"], f"{said}.", event["payload"])]

    def _started(self, event: Event) -> list[HistoryEntry]:
        said = event["payload"]
        of = f", from run {said['forked_from']}" if "forked_from" in said else ""
        text = f"A run of the project {said['project']} was started{of}."
        return [_line(event, "start", said["started_by"], text, said | {"channel": event["source"]})]

    def _opened(self, event: Event) -> list[HistoryEntry]:
        said = event["payload"]
        text = f"Revision {said['revision']} was opened at the {said['gate']} gate."
        return [_line(event, "revision", "myloware", text, said)]

    def _overdue(self, event: Event) -> list[HistoryEntry]:
        said = event["payload"]
        done = "escalated" if event["kind"] == "review.escalated" else "reminded of"
        text = f"Revision {said['revision']} at the {said['gate']} gate was overdue, and was {done}."
        return [_line(event, "reminder", "deadline", text, said)]

    def _link(self, event: Event) -> list[HistoryEntry]:
        said = event["payload"]
        text = f"A reviewer's link to revision {said['revision']} at the {said['gate']} gate was made ({said['link']})."
        return [_line(event, "link", said["asked_by"], text, said)]

    def _decided(self, event: Event) -> list[HistoryEntry]:
        row = self.made[event["payload"]["number"]]
        done = {"approve": "approved", "revise": "sent back for changes", "reject": "rejected"}[row["verdict"]]
        said = f": “{row['comment']}”" if row["comment"] else "."
        text = f"Revision {row['revision']} at the {row['gate']} gate was {done}{said}"
        details = {key: value for key, value in row.items() if key not in ("run_id", "decided_at")}
        return [_line(event, "decision", row["decided_by"], text, details)]

    def _ordered(self, event: Event) -> list[HistoryEntry]:
        order = self.orders[event["subject"] or ""]
        approval = self.made.get(order["approval"] or 0)
        text = f"{_name(order)} was ordered from {order['provider']}."
        details = _facts(order) | {"approved_by": approval["decided_by"] if approval else None}
        return [_line(event, "order", "myloware", text, details)]

    def _made(self, event: Event) -> list[HistoryEntry]:
        order = self.orders[event["subject"] or ""]
        done = {"publication": "is out", "render": "is done"}.get(order["kind"], "was made")
        where = ", ".join((order["result"] or {}).get("platforms") or {})
        text = f"{_name(order)} {done}{f' on {where}' if where else ''}."
        told = [_line(event, WHAT[order["kind"]], order["provider"], text, _facts(order))]
        return [*told, self._charged(event, order)] if order["spent_usd"] else told

    def _failed(self, event: Event) -> list[HistoryEntry]:
        order, said = self.orders[event["subject"] or ""], event["payload"]
        if event["kind"] == "order.refused":
            text, who = f"{_name(order)} was not ordered: {said['message']}", "myloware"
        else:
            text, who = f"{_name(order)} came to nothing: {said['message']}", said.get("by", order["provider"])
        told = [_line(event, WHAT[order["kind"]], who, text, _facts(order) | {"error": said})]
        if order["spent_usd"]:
            return [*told, self._charged(event, order)]
        if order["amount_usd"] and order["state"] == "failed":
            told[0]["text"] += f" {_usd(order['amount_usd'])} were given back."
        return told

    def _charged(self, event: Event, order: OrderRow) -> HistoryEntry:
        text = f"{order['provider']} charged {_usd(order['spent_usd'] or Decimal(0))} for {_name(order, small=True)}."
        return _charge(event["created_at"], order, text)

    def _unknown(self, event: Event) -> list[HistoryEntry]:
        order = self.orders[event["subject"] or ""]
        text = f"{_name(order)} was asked for, and nobody knows whether it was made."
        return [_line(event, WHAT[order["kind"]], order["provider"], text, _facts(order))]

    def _unsure(self, event: Event) -> list[HistoryEntry]:
        order = self.orders[event["subject"] or ""]
        text = f"{_name(order)} was asked for, and no answer came: {event['payload']['message']}"
        return [_line(event, "order", order["provider"], text, _facts(order) | {"error": event["payload"]})]

    def _twice(self, event: Event) -> list[HistoryEntry]:
        order = self.orders[event["subject"] or ""]
        text = f"{order['provider']} made {_name(order, small=True)} more than once, and charges for each."
        return [_line(event, "charge", order["provider"], text, event["payload"] | {"order": order["key"]})]

    def _asked(self, what: str, text: str) -> Callable[[Event], list[HistoryEntry]]:
        def told(event: Event) -> list[HistoryEntry]:
            return [_line(event, what, event["payload"]["asked_by"], text, {**event["payload"]})]

        return told

    def _ended(self, event: Event) -> list[HistoryEntry]:
        said = event["payload"]
        text = "The run was completed." if event["kind"] == "run.completed" else f"The run failed: {said['message']}"
        return [_line(event, "end", "myloware", text, said)]


def _line(event: Event, what: str, who: str, text: str, details: dict[str, Any]) -> HistoryEntry:
    return HistoryEntry(at=event["created_at"], what=what, who=who, text=text, details={"seq": event["seq"], **details})


def _charge(at: datetime, order: OrderRow, text: str) -> HistoryEntry:
    details = {"order": order["key"], "kind": order["kind"], "usd": float(order["spent_usd"] or 0)}
    return HistoryEntry(at=at, what="charge", who=order["provider"], text=text, details=details)


def _answer(order: OrderRow) -> list[HistoryEntry]:
    """What an answer of the language model cost."""
    at = order["settled_at"] or order["created_at"]
    text = f"The language model charged {_usd(order['spent_usd'] or Decimal(0))} for {_name(order, small=True)}."
    return [_charge(at, order, text)]


def _name(order: OrderRow, *, small: bool = False) -> str:
    """An order in words, as a sentence begins, or as one goes on."""
    _, kind, *rest = order["key"].split(":")
    number, take = (*rest, "1", "1")[:2]
    names = {
        "clip": f"take {take} of clip {number}",
        "render": "the film" if take == "1" else f"the film, rendered for the {_nth(take)} time,",
        "publication": "the post" if take == "1" else f"the post, tried for the {_nth(take)} time,",
        "words": f"other words for clip {number}",
        "ideas": f"the ideas of revision {number}",
        "caption": f"the caption of revision {number}",
        "route": f"reading the comment on revision {number}",
        "screening": "the screening of the brief",
    }
    name = names.get(kind, f"{kind} {number}")
    return name if small else name[0].upper() + name[1:]


def _nth(number: str) -> str:
    return {"2": "second", "3": "third"}.get(number, f"{number}th")


def _facts(order: OrderRow) -> dict[str, Any]:
    result = order["result"] or {}
    return {
        "order": order["key"],
        "kind": order["kind"],
        "provider": order["provider"],
        "task_id": order["task_id"],
        "state": order["state"],
        "usd": float(order["amount_usd"] if order["spent_usd"] is None else order["spent_usd"]),
        **{key: result[key] for key in ("digest", "seconds", "platforms", "failed") if key in result},
    }


def _usd(amount: Decimal) -> str:
    return f"{amount:.2f} USD" if amount >= Decimal("0.01") or not amount else f"{amount:.4f} USD"


def _totals(lines: list[HistoryEntry], orders: list[OrderRow], reserved: Decimal, spent: Decimal) -> Totals:
    charged: dict[str, Decimal] = {}
    for order in orders:
        charged[order["kind"]] = charged.get(order["kind"], Decimal(0)) + (order["spent_usd"] or 0)
    revisions: dict[str, int] = {}
    for line in lines:
        if line["what"] == "revision":
            gate = line["details"]["gate"]
            revisions[gate] = max(revisions.get(gate, 0), line["details"]["revision"])
    settled = [order["kind"] for order in orders if order["state"] == "settled"]
    return Totals(
        revisions=revisions,
        decisions=sum(line["what"] == "decision" for line in lines),
        takes=settled.count("clip"),
        posts=settled.count("publication"),
        spent_usd=round(float(spent), 4),
        reserved_usd=round(float(reserved), 4),
        charged_usd={kind: round(float(usd), 4) for kind, usd in charged.items() if usd},
    )


def _notice(row: dict[str, Any]) -> dict[str, Any]:
    """A notice, without the rest of its address: a path may be a secret."""
    return {
        "type": row["kind"],
        "host": row["url"].split("/")[2],
        "state": row["state"],
        "tries": row["tries"],
        "last_answer": row["last_answer"],
        "created_at": row["created_at"],
        "delivered_at": row["delivered_at"],
    }
