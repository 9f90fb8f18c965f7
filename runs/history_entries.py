"""Entries of a run's history, built from its events, decisions and orders."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from providers.orders import OrderKey
from runs.artifacts import usd_of
from storage.actors import ActorJson, ClaimedUser
from storage.decisions import DecisionRow
from storage.events import Event
from storage.orders import OrderRow

#: The kind of the entry about an order, by the kind of the order.
ENTRY_KINDS = {"clip": "take", "render": "render", "publication": "post", "model": "model", "speech": "speech"}
VERDICTS = {"approve": "approved", "revise": "sent back for changes", "reject": "rejected"}
#: The facts of an order's result that its entry shows.
OUTCOME_FACTS = ("digest", "seconds", "platforms", "failed", "unconfirmed", "warnings", "charged_usd")
ORDINALS = {2: "second", 3: "third"}
SERVICE: ActorJson = {"kind": "service", "id": "myloware", "name": "MyloWare"}
DEADLINE: ActorJson = {"kind": "deadline", "id": "deadline", "name": "deadline"}

_REVIEW = "evision {revision} at the {gate} gate"
#: Kind, text and actor of the entry for an event of the run; without an actor, that of the event's payload.
RUN_EVENTS: dict[str, tuple[str, str, ActorJson | None]] = {
    "run.started": ("start", "A run of the project {project} was started{source}.", None),
    "review.opened": ("revision", f"R{_REVIEW} was opened.", SERVICE),
    "review.reminded": ("reminder", f"R{_REVIEW} was overdue: a reminder was sent.", DEADLINE),
    "review.escalated": ("reminder", f"R{_REVIEW} was overdue: escalated.", DEADLINE),
    "link.created": ("link", f"A reviewer's link ({{link}}) to r{_REVIEW} was created.", None),
    "cancel.requested": ("cancel", "The run was cancelled.", None),
    "retry.requested": ("retry", "The run was retried.", None),
    "attempt.requested": ("retry", "Another attempt was requested.", None),
    "run.needs_attention": ("attention", "The run needs attention: it waits for {what}. {message}", SERVICE),
    "run.attention_ended": ("attention", "The run no longer needs attention: {message}", SERVICE),
    "run.completed": ("end", "The run was completed.", SERVICE),
    "run.failed": ("end", "The run failed: {message}", SERVICE),
}
#: Text of the entry for an event of an order; `name` is the order in words.
ORDER_EVENTS = {
    "order.submitted": "{name} was ordered from {provider}.",
    "order.settled": "{name} {verb}{platforms}.{warnings}",
    "order.failed": "{name} failed: {message}",
    "order.refused": "{name} was not ordered: {message}",
    "order.outcome_unknown": "{name} was ordered, and its outcome is unknown.",
    "order.moved": "{name} is rendered by another renderer, which the settings name now.",
    "order.replayed": "{name} was submitted again under its key; {provider} returns the first order if it has one.",
    "order.submit_timed_out": "{name} was ordered without an answer: {message}",
    "charge.duplicate": "{provider} made {small_name} more than once, and charges for each.",
}


class HistoryEntry(BaseModel):
    """One entry. `actor` is an API key, a link, a provider, or the part of the service that acted."""

    at: datetime
    kind: str
    actor: ActorJson
    text: str
    details: dict[str, Any]


def describe_event(
    event: Event, decisions: Mapping[int, DecisionRow], orders: Mapping[str, OrderRow]
) -> list[HistoryEntry]:
    """Return the entries for an event, given the decisions by number and the orders by key."""
    if event.kind in ORDER_EVENTS:
        return _describe_order(event, orders[event.subject or ""], decisions)
    if event.kind == "decision.recorded":
        return [_describe_decision(event, decisions[event.payload["number"]])]
    if event.kind not in RUN_EVENTS:
        source: ActorJson = {"kind": "service", "id": event.source, "name": event.source}
        text = f"{event.kind.replace('.', ' ').replace('_', ' ').capitalize()}."
        return [_entry(event, event.kind.partition(".")[0], source, text, event.payload)]
    kind, template, actor = RUN_EVENTS[event.kind]
    payload = event.payload
    source_run = f", from run {payload['forked_from']}" if "forked_from" in payload else ""
    details = payload | {"channel": event.source} if kind == "start" else payload
    return [_entry(event, kind, actor or payload["actor"], template.format(**payload, source=source_run), details)]


def describe_model_charge(order: OrderRow) -> HistoryEntry:
    """Return the entry for the charge of a model call, which has no event."""
    return _charge(order.settled_at or order.created_at, order, "The language model")


def _describe_decision(event: Event, row: DecisionRow) -> HistoryEntry:
    comment = f": “{row.comment}”" if row.comment else "."
    by = f"by {row.actor_name}{_claim(row.claimed_user)}"
    publish_at = row.edits.get("publish_at") if isinstance(row.edits, dict) else None
    schedule = f", to be published at {publish_at}" if publish_at else ""
    text = f"Revision {row.revision} at the {row.gate} gate was {VERDICTS[row.verdict]} {by}{schedule}{comment}"
    details = {name: value for name, value in vars(row).items() if name not in ("run_id", "decided_at")}
    return _entry(event, "decision", row.actor_json, text, details)


def _claim(user: ClaimedUser | None) -> str:
    """Return the user that the client named, marked as its claim."""
    name = user and (user.get("name") or user.get("email") or user.get("id"))
    return f", for {name} as its client claims" if name else ""


def _describe_order(event: Event, order: OrderRow, decisions: Mapping[int, DecisionRow]) -> list[HistoryEntry]:
    kind, actor, details = ENTRY_KINDS[order.kind], _provider(order), _facts(order)
    match event.kind:
        case "order.submitted":
            approval = decisions.get(order.decision or 0)
            kind, actor, details["approved_by"] = "order", SERVICE, approval.actor_json if approval else None
        case "order.refused":
            actor, details["error"] = SERVICE, event.payload
        case "order.failed":
            actor, details["error"] = event.payload.get("actor") or actor, event.payload
        case "order.submit_timed_out":
            kind, details["error"] = "order", event.payload
        case "order.replayed" | "order.moved":
            kind, actor = "order", SERVICE
        case "charge.duplicate":
            kind, details = "charge", event.payload | {"order": order.key}
    return _with_charge(event, order, _entry(event, kind, actor, _order_text(event, order), details))


def _with_charge(event: Event, order: OrderRow, entry: HistoryEntry) -> list[HistoryEntry]:
    """Return the entry, with the charge or the released amount of an order that the event ends."""
    is_final = event.kind in ("order.settled", "order.failed", "order.refused")
    # A clip that was charged, and fetched after all, has both events and is charged once.
    is_revised = event.kind == "order.failed" and order.state == "settled"
    if is_final and order.spent_usd and not is_revised:
        return [entry, _charge(event.created_at, order, order.provider)]
    if is_final and order.state == "failed" and order.amount_usd:
        entry.text += f" {_format_usd(order.amount_usd)} were released."
    return [entry]


def _order_text(event: Event, order: OrderRow) -> str:
    name = _name(order)
    platforms = ", ".join(order.result.get("platforms") or {})
    return ORDER_EVENTS[event.kind].format(
        name=name[0].upper() + name[1:],
        small_name=name,
        provider=order.provider,
        message=event.payload.get("message"),
        verb={"publication": "was published", "render": "was rendered"}.get(order.kind, "was made"),
        platforms=f" on {platforms}" if platforms else "",
        warnings="".join(f" {text.rstrip('.')}." for text in order.result.get("warnings", [])),
    )


def _charge(at: datetime, order: OrderRow, vendor: str) -> HistoryEntry:
    usd = Decimal(order.result.get("charged_usd") or order.spent_usd or 0)
    text = f"{vendor} charged {_format_usd(usd)} for {_name(order)}."
    details = {"order": order.key, "kind": order.kind, "usd": usd_of(order)}
    return HistoryEntry(at=at, kind="charge", actor=_provider(order), text=text, details=details)


def _entry(event: Event, kind: str, actor: ActorJson, text: str, details: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(at=event.created_at, kind=kind, actor=actor, text=text, details={"seq": event.seq, **details})


def _provider(order: OrderRow) -> ActorJson:
    return {"kind": "provider", "id": order.provider, "name": order.provider}


def _name(order: OrderRow) -> str:
    """Return the order in words, in lower case, for use inside a sentence."""
    key = OrderKey.parse(order.key)
    attempt = ORDINALS.get(key.attempt, f"{key.attempt}th")
    names = {
        "clip": f"take {key.attempt} of clip {key.number}",
        "render": "the film" if key.attempt == 1 else f"the film, rendered for the {attempt} time,",
        "publication": "the post" if key.attempt == 1 else f"the post, tried for the {attempt} time,",
        "speech": f"narration {key.number}",
        "rewrite": f"the rewritten prompt of clip {key.number}",
        "ideas": f"the ideas of revision {key.number}",
        "caption": f"the caption of revision {key.number}",
        "route": f"routing the comment on revision {key.number}",
        "moderation": f"moderating the ideas of revision {key.number}" if key.number else "moderating the brief",
        "screening": "screening the brief",
    }
    return names.get(key.kind, f"{key.kind} {key.number}")


def _facts(order: OrderRow) -> dict[str, Any]:
    result = order.result
    facts = {name: getattr(order, name) for name in ("kind", "provider", "task_id", "state")}
    kept: dict[str, Any] = {key: result[key] for key in OUTCOME_FACTS if key in result}
    return {"order": order.key, **facts, "usd": usd_of(order), **kept}


def _format_usd(amount: Decimal) -> str:
    return f"{amount:.2f} USD" if amount >= Decimal("0.01") or not amount else f"{amount:.4f} USD"
