"""From an approved film to a publication."""

from dataclasses import replace
from typing import cast

from graph.dependencies import Dependencies
from graph.nodes.orders import StepFailed, await_orders, decision_at, order_failure, project_of_run, with_disclosure
from graph.review_content import content_at
from graph.state import CaptionState, RunState
from providers.orders import PUBLISHER_CHANGED, Approval, Order, OrderKey, OrderStatus
from providers.publications.outcome import PublicationOutcome, publication_outcome

CHANGED_PUBLISHER = "The publisher has changed since this was approved, and nothing was posted by the new one."


async def order_publication(state: RunState, *, deps: Dependencies) -> RunState:
    """Order the publication of exactly what was approved, on the platforms that have not got it.

    The ledger sends an order once, and no platform is asked again unless it failed by its own word: nothing is posted
    twice. The film goes back to the publish gate if another publisher would post it than the approved one. The ledger
    keeps the order of a scheduled film until its time. An unsigned film of an earlier version is rendered again, and
    its gate opens again, unless it was approved before the upgrade. Raises StepFailed if then the mark does not hold.
    """
    post, last = state["caption"], state.get("publication_key")
    key = OrderKey(state["run_id"], "publication", attempt=OrderKey.parse(last).attempt + 1 if last else 1)
    outcome = publication_outcome(await _orders(last, deps))
    platforms = _remaining(state, outcome)
    if not platforms:
        return {"route": "await_publication"}
    if not await deps.ledger.statuses([str(key)]) and await _needs_signature(state, deps):
        return {"route": "order_render", "caption": _without_time(state["caption"])}
    publisher = post.get("publisher", deps.publisher)
    if publisher != deps.publisher_of(state["project"]) and not await deps.ledger.statuses([str(key)]):
        return _reopen_gate(state, outcome, deps)
    # The digest of what would be posted, not that in the decision: the ledger compares the two.
    approval = Approval(decision_at("publish", state).number, content_at("publish", state).digest)
    request = {
        "digest": state["film"]["digest"],
        "title": state["ideas"]["title"],
        "caption": post["caption"],
        "hashtags": post["hashtags"],
        "platforms": platforms,
        **_destinations(post, platforms),
        **({"subtitles": state["film"]["subtitles_digest"]} if "subtitles_digest" in state["film"] else {}),
        **({"publish_at": post["publish_at"]} if "publish_at" in post else {}),
    }
    await deps.ledger.place_once(Order(key, "publication", request, approval=approval, provider=publisher))
    return {"route": "await_publication", "publication_key": str(key)}


async def await_publication(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait until the publication has ended. The run ends when every platform has published the film.

    A retry posts to the platforms that failed by their own word. Raises StepFailed if it was not requested.
    """
    key = state["publication_key"]
    await await_orders([key], "publication", deps)
    orders = await _orders(key, deps)
    outcome = publication_outcome(orders)
    if orders[-1].result.get("code") == PUBLISHER_CHANGED:
        return _reopen_gate(state, outcome, deps)
    if not outcome.failed and not outcome.unconfirmed:
        warnings = [*state["caption"].get("notices", []), *outcome.facts.get("warnings", [])]
        return {"route": "end", "publication": {**outcome.as_json(), **({"warnings": warnings} if warnings else {})}}
    ended_at = max(order.settled_at or order.created_at for order in orders)
    if outcome.failed and await deps.records.retry_requested_since(state["run_id"], ended_at):
        return {"route": "order_publication"}
    raise _failure(outcome, orders[-1])


async def _needs_signature(state: RunState, deps: Dependencies) -> bool:
    """Return whether the film is of a version that did not sign it. Raises StepFailed for an invalid mark."""
    if deps.read_mark is None or project_of_run(state, deps).disclosure == "optional":
        return False
    found = await deps.read_mark(state["film"]["digest"])
    if found is None:
        if await deps.records.is_approved_unsigned(decision_at("publish", state).number):
            return False
        if "c2pa" not in state["film"]:
            return True
    elif found.valid:
        return False
    fault = f"does not hold ({', '.join(found.problems)})" if found else "is missing"
    message = f"The C2PA signature of the film {fault}, and the project requires it: `disclosure: required`."
    raise StepFailed("film_mark_invalid" if found else "film_not_marked", f"{message} Nothing was posted.")


def _without_time(post: CaptionState) -> CaptionState:
    """Return the post for another approval, at which its time is chosen again."""
    return cast("CaptionState", {name: value for name, value in post.items() if name != "publish_at"})


async def _orders(newest: str | None, deps: Dependencies) -> list[OrderStatus]:
    """Return all orders of the publication, oldest first."""
    if newest is None:
        return []
    last = OrderKey.parse(newest)
    keys = [str(replace(last, attempt=attempt)) for attempt in range(1, last.attempt + 1)]
    statuses = await deps.ledger.statuses(keys)
    return [statuses[key] for key in keys if key in statuses]


def _remaining(state: RunState, outcome: PublicationOutcome) -> list[str]:
    """Return the approved platforms that have neither published the film nor may have done so."""
    return [name for name in state["caption"]["platforms"] if name not in outcome.published | outcome.unconfirmed]


def _destinations(post: CaptionState, platforms: list[str]) -> dict[str, dict[str, str]]:
    places = {name: place for name, place in post.get("destinations", {}).items() if name in platforms}
    return {"destinations": places} if places else {}


def _reopen_gate(state: RunState, outcome: PublicationOutcome, deps: Dependencies) -> RunState:
    """Present what is left to post again, with the publisher of the current settings. Its time is chosen again."""
    post, platforms = _without_time(state["caption"]), _remaining(state, outcome)
    notices = [*(notice for notice in post.get("notices", []) if notice != CHANGED_PUBLISHER), CHANGED_PUBLISHER]
    changes = {"platforms": platforms, "publisher": deps.publisher_of(state["project"]), "notices": notices}
    post_left = {**post, **changes, **_destinations(post, platforms)}
    return {"route": "publish_gate", "caption": with_disclosure(post_left, state, deps)}


def _failure(outcome: PublicationOutcome, last: OrderStatus) -> StepFailed:
    """Return the error for a publication that is not complete, with what is known of each platform."""
    if not outcome.published and not (outcome.failed and outcome.unconfirmed):
        return order_failure("The publication", last)
    parts = [f"{name} failed: {reason.rstrip('.')}." for name, reason in outcome.failed.items()]
    if outcome.published:
        parts.insert(0, f"Published on {', '.join(sorted(outcome.published))}.")
    if outcome.failed:
        parts.append(f"A retry posts to {', '.join(outcome.failed)} only.")
    if not outcome.unconfirmed:
        return StepFailed("publication_incomplete", " ".join(parts))
    names = ", ".join(sorted(outcome.unconfirmed))
    parts.append(f"It may or may not have been posted to {names}: check there.")
    return StepFailed("publication_unconfirmed", " ".join(parts))
