"""Entries of a run's history, built from its events, decisions and orders."""

import tomllib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
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
ACTORS = {"service": SERVICE, "deadline": DEADLINE}
TEXTS = tomllib.loads(Path(__file__).with_name("history_texts.toml").read_text(encoding="utf-8"))


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
    if event.kind in TEXTS["order"]:
        return _describe_order(event, orders[event.subject or ""], decisions)
    if event.kind == "decision.recorded":
        return [describe_decision(decisions[event.payload["number"]], event.seq, event.created_at)]
    if event.kind not in TEXTS["run"]:
        source: ActorJson = {"kind": "service", "id": event.source, "name": event.source}
        text = f"{event.kind.replace('.', ' ').replace('_', ' ').capitalize()}."
        return [_entry(event, event.kind.partition(".")[0], source, text, event.payload)]
    entry, payload = TEXTS["run"][event.kind], event.payload
    actor, text = ACTORS.get(entry.get("actor")) or payload["actor"], entry["text"]
    source_run = f", from run {payload['forked_from']}" if "forked_from" in payload else ""
    details = payload if "actor" in entry else payload | {"channel": event.source}
    return [_entry(event, entry["kind"], actor, text.format(**payload, source=source_run), details)]


def describe_model_charge(order: OrderRow) -> HistoryEntry:
    """Return the entry for the charge of a model call, which has no event."""
    return _charge(order.settled_at or order.created_at, order, "The language model")


def describe_decision(row: DecisionRow, seq: int, at: datetime) -> HistoryEntry:
    """Return the entry for a decision, of which the event with this number was recorded at `at`."""
    comment = f": “{row.comment}”" if row.comment else "."
    by = f"by {row.actor_name}{_claim(row.claimed_user)}"
    publish_at = row.edits.get("publish_at") if isinstance(row.edits, dict) else None
    schedule = f", to be published at {publish_at}" if publish_at else ""
    text = f"Revision {row.revision} at the {row.gate} gate was {VERDICTS[row.verdict]} {by}{schedule}{comment}"
    details = {name: value for name, value in vars(row).items() if name not in ("run_id", "decided_at")}
    return HistoryEntry(at=at, kind="decision", actor=row.actor_json, text=text, details={"seq": seq, **details})


def _claim(user: ClaimedUser | None) -> str:
    """Return the user that the client named, marked as its claim."""
    name = user and (user.get("name") or user.get("email") or user.get("id"))
    return f", for {name} as its client claims" if name else ""


def _describe_order(event: Event, order: OrderRow, decisions: Mapping[int, DecisionRow]) -> list[HistoryEntry]:
    described, payload, details = TEXTS["order"][event.kind], event.payload, _facts(order)
    kind, actor = described.get("kind") or ENTRY_KINDS[order.kind], ACTORS.get(described.get("actor"))
    if event.kind == "order.submitted":
        approval = decisions.get(order.decision or 0)
        details["approved_by"] = approval.actor_json if approval else None
    elif event.kind == "charge.duplicate":
        details = payload | {"order": order.key}
    elif "message" in payload:
        details["error"] = payload
    entry = _entry(event, kind, actor or payload.get("actor") or _provider(order), _order_text(event, order), details)
    return _with_charge(event, order, entry)


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
    text: str = TEXTS["order"][event.kind]["text"]
    return text.format(
        name=name[0].upper() + name[1:],
        small_name=name,
        provider=order.provider,
        message=event.payload.get("message"),
        since=event.payload.get("since"),
        usd=_format_usd(order.amount_usd),
        percent=100 * event.payload.get("progress", 0),
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
    kind = "moderation_of_brief" if (key.kind, key.number) == ("moderation", 0) else key.kind
    later = TEXTS["name_of_later_attempt"].get(kind) if key.attempt > 1 else None
    name: str = later or TEXTS["name"].get(kind, f"{kind} {key.number}")
    ordinal = ORDINALS.get(key.attempt, f"{key.attempt}th")
    return name.format(number=key.number, attempt=key.attempt, ordinal=ordinal)


def _facts(order: OrderRow) -> dict[str, Any]:
    result = order.result
    facts = {name: getattr(order, name) for name in ("kind", "provider", "task_id", "state")}
    kept: dict[str, Any] = {key: result[key] for key in OUTCOME_FACTS if key in result}
    return {"order": order.key, **facts, "usd": usd_of(order), **kept}


def _format_usd(amount: Decimal) -> str:
    return f"{amount:.2f} USD" if amount >= Decimal("0.01") or not amount else f"{amount:.4f} USD"
