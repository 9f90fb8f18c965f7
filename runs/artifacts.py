"""The artifacts of a run as the API shows them: small JSON with ids, digests and links."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from graph.review_content import IdeasContent
from graph.state import RunState
from providers.publications.outcome import publication_outcome
from storage.ledger import Ledger
from storage.orders import OrderRow


async def list_artifacts(
    ledger: Ledger, run_id: UUID, state: RunState, known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the artifacts by kind, from the thread's state and the ledger; `known` supplies missing kinds."""
    artifacts: dict[str, Any] = dict(known or {})
    if "ideas" in state:
        content = IdeasContent.model_validate(state["ideas"])
        artifacts["ideas"] = content.model_dump(mode="json", include={"title", "ideas", "estimated_usd"})
    orders = await ledger.list_for_run(run_id)
    if clips := [_manifest_entry(order) for order in orders if order.kind == "clip"]:
        artifacts["clip_manifest"] = {"clips": clips}
    if "film" in state:
        urls = {"url": "digest", "subtitles_url": "subtitles_digest"}
        found = {name: f"/v1/artifacts/{state['film'][key]}" for name, key in urls.items() if key in state["film"]}
        artifacts["final_video"] = {**state["film"], **found}
    if publication := _publication(state, orders):
        artifacts["publication"] = publication
    return artifacts


def _publication(state: RunState, orders: Sequence[OrderRow]) -> dict[str, Any] | None:
    if "publication" in state:
        post = state["caption"]
        return {**state["publication"], "caption": post["caption"], "hashtags": post["hashtags"]}
    posts = [order for order in orders if order.kind == "publication"]
    outcome = publication_outcome(posts)
    if not outcome.links:
        return None
    # A run that failed may have published the film on some of its platforms.
    return {**outcome.as_json(), **{name: posts[-1].request.get(name) for name in ("caption", "hashtags")}}


def describe_unknown_order(ledger: Ledger, order: OrderRow) -> dict[str, Any]:
    """Return what a person needs to find an order of unknown outcome at its provider."""
    provider = ledger.provider_of(order)
    return {
        "order": order.key,
        "kind": order.kind,
        "provider": provider.name,
        "called_at": order.called_at.isoformat() if order.called_at else None,
        "placed_since": order.lookup_since.isoformat() if order.lookup_since else None,
        "lookup_url": provider.lookup_url(order.request, key=order.key),
        "lookup_proof": provider.lookup_proof,
        "usd": float(order.amount_usd),
    }


def usd_of(order: OrderRow) -> float:
    """Return what the order cost, or the amount that is reserved for it."""
    return float(order.amount_usd if order.spent_usd is None else order.spent_usd)


def _manifest_entry(order: OrderRow) -> dict[str, Any]:
    result = order.result
    entry: dict[str, Any] = {name: getattr(order, name) for name in ("clip", "take", "task_id", "state")}
    entry["usd"] = usd_of(order)
    if order.state == "settled":
        entry |= {key: result[key] for key in ("digest", "seconds") if key in result}
        entry["url"] = f"/v1/artifacts/{result['digest']}"
    elif "code" in result:
        entry["error"] = {key: result[key] for key in ("code", "message")}
    return entry
