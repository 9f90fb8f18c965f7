"""What a run has made so far, as the API shows it: small JSON with ids, digests and links, never bytes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from graph.review_content import estimate_usd
from runs.services import Services
from storage.orders import OrderRow


async def artifacts_of(
    services: Services, run_id: UUID, values: dict[str, Any], known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The artifacts by kind, from the thread's values and the ledger, over those that were `known`."""
    made: dict[str, Any] = dict(known or {})
    if "ideas" in values:
        made["ideas"] = {key: values["ideas"][key] for key in ("title", "ideas")}
        made["ideas"]["estimated_usd"] = str(estimate_usd(values["ideas"]))
    orders = await services.ledger.list_for_run(run_id)
    if clips := [_clip(order) for order in orders if order["kind"] == "clip"]:
        made["clip_manifest"] = {"clips": clips}
    if "film" in values:
        made["final_video"] = {**values["film"], "url": f"/v1/artifacts/{values['film']['digest']}"}
    if facts := values.get("publication", {}).get("facts"):
        made["publication"] = {**facts, **{key: values["caption"][key] for key in ("caption", "hashtags")}}
    return made


def _clip(order: OrderRow) -> dict[str, Any]:
    """A line of the clip manifest: which clip, which take, whose task, and how it stands."""
    _, _, number, take = order["key"].split(":")
    result = order["result"] or {}
    line: dict[str, Any] = {
        "clip": int(number),
        "take": int(take),
        "task_id": order["task_id"],
        "state": order["state"],
        "usd": float(order["amount_usd"] if order["spent_usd"] is None else order["spent_usd"]),
    }
    if order["state"] == "settled":
        line |= {key: result[key] for key in ("digest", "seconds") if key in result}
        line["url"] = f"/v1/artifacts/{result['digest']}"
    elif "code" in result:
        line["error"] = {key: result[key] for key in ("code", "message")}
    return line


def lookup_url(services: Services, order: OrderRow) -> dict[str, Any]:
    """An order of unknown outcome, for a person who goes to look for it at the provider."""
    provider = services.ledger.providers[order["kind"]]
    return {
        "order": order["key"],
        "kind": order["kind"],
        "provider": provider.name,
        "called_at": order["called_at"].isoformat() if order["called_at"] else None,
        "look_at": provider.lookup_url(order["request"], key=order["key"]),
        "usd": float(order["amount_usd"]),
    }
