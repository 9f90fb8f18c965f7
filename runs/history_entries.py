"""Entries of a run's history, built from its events, decisions and orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from pydantic import BaseModel

from providers.orders import OrderKey
from runs.artifacts import usd_of
from storage.actors import ActorJson
from storage.decisions import DecisionRow
from storage.events import Event
from storage.orders import OrderRow

#: The kind of the entry about an order, by the kind of the order.
ENTRY_KINDS = {"clip": "take", "render": "render", "publication": "post", "model": "model"}
SERVICE: ActorJson = {"kind": "service", "id": "myloware", "name": "MyloWare"}
DEADLINE: ActorJson = {"kind": "deadline", "id": "deadline", "name": "deadline"}
VERDICTS = {"approve": "approved", "revise": "sent back for changes", "reject": "rejected"}
ORDINALS = {2: "second", 3: "third"}


class HistoryEntry(BaseModel):
    """One entry. `actor` is an API key, a link, a provider, or the part of the service that acted."""

    at: datetime
    kind: str
    actor: ActorJson
    text: str
    details: dict[str, Any]


class EventDescriber:
    """Describes events, given the decisions by number and the orders by key."""

    def __init__(self, decisions: Mapping[int, DecisionRow], orders: Mapping[str, OrderRow]) -> None:
        self._decisions = decisions
        self._orders = orders
        self._run_events: dict[str, Callable[[Event], HistoryEntry]] = {
            "run.started": _describe_start,
            "review.opened": _describe_review,
            "review.reminded": _describe_overdue,
            "review.escalated": _describe_overdue,
            "link.created": _describe_link,
            "decision.recorded": self._describe_decision,
            "cancel.requested": partial(_describe_request, "cancel", "The run was cancelled."),
            "retry.requested": partial(_describe_request, "retry", "The run was retried."),
            "run.completed": _describe_end,
            "run.failed": _describe_end,
        }
        self._order_events: dict[str, Callable[[Event, OrderRow], list[HistoryEntry]]] = {
            "order.submitted": self._describe_submitted,
            "order.settled": _describe_settled,
            "order.failed": _describe_failed,
            "order.refused": _describe_refused,
            "order.outcome_unknown": _describe_unknown,
            "order.submit_timed_out": _describe_submit_timed_out,
            "charge.duplicate": _describe_duplicate,
        }

    def describe(self, event: Event) -> list[HistoryEntry]:
        """Return the entries for the event; an event of an unknown kind has a generic one."""
        if describe_order := self._order_events.get(event.kind):
            return describe_order(event, self._orders[event.subject or ""])
        return [self._run_events.get(event.kind, _describe_other)(event)]

    def _describe_decision(self, event: Event) -> HistoryEntry:
        row = self._decisions[event.payload["number"]]
        comment = f": “{row.comment}”" if row.comment else "."
        text = f"Revision {row.revision} at the {row.gate} gate was {VERDICTS[row.verdict]}{comment}"
        details = {name: value for name, value in vars(row).items() if name not in ("run_id", "decided_at")}
        return _entry(event, "decision", row.actor_json, text, details)

    def _describe_submitted(self, event: Event, order: OrderRow) -> list[HistoryEntry]:
        approval = self._decisions.get(order.decision or 0)
        details = _facts(order) | {"approved_by": approval.actor_json if approval else None}
        text = f"{_capitalized_name(order)} was ordered from {order.provider}."
        return [_entry(event, "order", SERVICE, text, details)]


def describe_model_charge(order: OrderRow) -> HistoryEntry:
    """Return the entry for the charge of a model call, which has no event."""
    at = order.settled_at or order.created_at
    return _charge(at, order, f"The language model charged {_spent(order)} for {_name(order)}.")


def _describe_other(event: Event) -> HistoryEntry:
    text = event.kind.replace(".", " ").replace("_", " ").capitalize()
    source: ActorJson = {"kind": "service", "id": event.source, "name": event.source}
    return _entry(event, event.kind.partition(".")[0], source, f"{text}.", event.payload)


def _describe_start(event: Event) -> HistoryEntry:
    payload = event.payload
    source = f", from run {payload['forked_from']}" if "forked_from" in payload else ""
    text = f"A run of the project {payload['project']} was started{source}."
    return _entry(event, "start", payload["actor"], text, payload | {"channel": event.source})


def _describe_review(event: Event) -> HistoryEntry:
    return _entry(event, "revision", SERVICE, f"{_review_name(event)} was opened.", event.payload)


def _describe_overdue(event: Event) -> HistoryEntry:
    action = "escalated" if event.kind == "review.escalated" else "a reminder was sent"
    return _entry(event, "reminder", DEADLINE, f"{_review_name(event)} was overdue: {action}.", event.payload)


def _describe_link(event: Event) -> HistoryEntry:
    name = _review_name(event)
    text = f"A reviewer's link ({event.payload['link']}) to {name[0].lower()}{name[1:]} was created."
    return _entry(event, "link", event.payload["actor"], text, event.payload)


def _describe_request(kind: str, text: str, event: Event) -> HistoryEntry:
    return _entry(event, kind, event.payload["actor"], text, event.payload)


def _describe_end(event: Event) -> HistoryEntry:
    is_completed = event.kind == "run.completed"
    text = "The run was completed." if is_completed else f"The run failed: {event.payload['message']}"
    return _entry(event, "end", SERVICE, text, event.payload)


def _describe_settled(event: Event, order: OrderRow) -> list[HistoryEntry]:
    verb = {"publication": "was published", "render": "was rendered"}.get(order.kind, "was made")
    platforms = ", ".join((order.result or {}).get("platforms") or {})
    text = f"{_capitalized_name(order)} {verb}{f' on {platforms}' if platforms else ''}."
    entry = _entry(event, ENTRY_KINDS[order.kind], _provider(order), text, _facts(order))
    return [entry, *_order_charge(event, order)]


def _describe_failed(event: Event, order: OrderRow) -> list[HistoryEntry]:
    text = f"{_capitalized_name(order)} failed: {event.payload['message']}"
    return _describe_error(event, order, event.payload.get("actor") or _provider(order), text)


def _describe_refused(event: Event, order: OrderRow) -> list[HistoryEntry]:
    text = f"{_capitalized_name(order)} was not ordered: {event.payload['message']}"
    return _describe_error(event, order, SERVICE, text)


def _describe_error(event: Event, order: OrderRow, actor: ActorJson, text: str) -> list[HistoryEntry]:
    charge = _order_charge(event, order)
    if not charge and order.amount_usd and order.state == "failed":
        text += f" {_format_usd(order.amount_usd)} were released."
    details = _facts(order) | {"error": event.payload}
    return [_entry(event, ENTRY_KINDS[order.kind], actor, text, details), *charge]


def _describe_unknown(event: Event, order: OrderRow) -> list[HistoryEntry]:
    text = f"{_capitalized_name(order)} was ordered, and its outcome is unknown."
    return [_entry(event, ENTRY_KINDS[order.kind], _provider(order), text, _facts(order))]


def _describe_submit_timed_out(event: Event, order: OrderRow) -> list[HistoryEntry]:
    text = f"{_capitalized_name(order)} was ordered without an answer: {event.payload['message']}"
    return [_entry(event, "order", _provider(order), text, _facts(order) | {"error": event.payload})]


def _describe_duplicate(event: Event, order: OrderRow) -> list[HistoryEntry]:
    text = f"{order.provider} made {_name(order)} more than once, and charges for each."
    return [_entry(event, "charge", _provider(order), text, event.payload | {"order": order.key})]


def _order_charge(event: Event, order: OrderRow) -> list[HistoryEntry]:
    if not order.spent_usd:
        return []
    return [_charge(event.created_at, order, f"{order.provider} charged {_spent(order)} for {_name(order)}.")]


def _charge(at: datetime, order: OrderRow, text: str) -> HistoryEntry:
    details = {"order": order.key, "kind": order.kind, "usd": usd_of(order)}
    return HistoryEntry(at=at, kind="charge", actor=_provider(order), text=text, details=details)


def _entry(event: Event, kind: str, actor: ActorJson, text: str, details: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(at=event.created_at, kind=kind, actor=actor, text=text, details={"seq": event.seq, **details})


def _provider(order: OrderRow) -> ActorJson:
    return {"kind": "provider", "id": order.provider, "name": order.provider}


def _review_name(event: Event) -> str:
    return f"Revision {event.payload['revision']} at the {event.payload['gate']} gate"


def _name(order: OrderRow) -> str:
    """Return the order in words, in lower case, for use inside a sentence."""
    key = OrderKey.parse(order.key)
    attempt = ORDINALS.get(key.attempt, f"{key.attempt}th")
    names = {
        "clip": f"take {key.attempt} of clip {key.number}",
        "render": "the film" if key.attempt == 1 else f"the film, rendered for the {attempt} time,",
        "publication": "the post" if key.attempt == 1 else f"the post, tried for the {attempt} time,",
        "rewrite": f"the rewritten prompt of clip {key.number}",
        "ideas": f"the ideas of revision {key.number}",
        "caption": f"the caption of revision {key.number}",
        "route": f"routing the comment on revision {key.number}",
        "screening": "screening the brief",
    }
    return names.get(key.kind, f"{key.kind} {key.number}")


def _capitalized_name(order: OrderRow) -> str:
    name = _name(order)
    return name[0].upper() + name[1:]


def _facts(order: OrderRow) -> dict[str, Any]:
    result = order.result or {}
    return {
        "order": order.key,
        "kind": order.kind,
        "provider": order.provider,
        "task_id": order.task_id,
        "state": order.state,
        "usd": usd_of(order),
        **{key: result[key] for key in ("digest", "seconds", "platforms", "failed") if key in result},
    }


def _spent(order: OrderRow) -> str:
    return _format_usd(order.spent_usd or Decimal(0))


def _format_usd(amount: Decimal) -> str:
    return f"{amount:.2f} USD" if amount >= Decimal("0.01") or not amount else f"{amount:.4f} USD"
