"""From an approved film to a publication."""

from __future__ import annotations

from graph.dependencies import Dependencies
from graph.nodes.orders import await_orders, order_failure, retry_requested
from graph.review_content import content_at
from graph.state import RunState
from providers.orders import Approval, Order, digest_of


async def order_publication(state: RunState, *, deps: Dependencies) -> RunState:
    """Orders the publication of exactly what was approved."""
    run, decision, last = state["run"], state["decisions"]["publish"], state.get("publication")
    attempt = last["attempt"] + 1 if last else 1
    key = f"{run['id']}:publication:1:{attempt}"
    order = Order(
        key=key,
        run_id=run["id"],
        kind="publication",
        request={
            "digest": state["film"]["digest"],
            "title": state["ideas"]["title"],
            "caption": state["caption"]["caption"],
            "hashtags": state["caption"]["hashtags"],
            "platforms": state["caption"]["platforms"],
        },
        # Of what would be posted, not of what the decision says it was about: the ledger holds one against the other.
        approval=Approval(decision["number"], digest_of(content_at("publish", state))),
    )
    await deps.ledger.place_once(order)
    return {"publication": {"key": key, "attempt": attempt, "facts": {}, "failed": False}}


async def await_publication(state: RunState, *, deps: Dependencies) -> RunState:
    """Waits until the publisher says how it went."""
    publication = state["publication"]
    standing = (await await_orders([publication["key"]], "publication", deps))[publication["key"]]
    if standing.state == "settled":
        return {"publication": {**publication, "facts": standing.result}}
    if not await retry_requested(state, [standing], deps):
        raise order_failure("The publication", standing)
    return {"publication": {**publication, "failed": True}}
