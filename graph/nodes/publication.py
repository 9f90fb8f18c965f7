"""From an approved film to a publication."""

from __future__ import annotations

from graph.dependencies import Dependencies
from graph.nodes.orders import await_orders, is_retry_requested, order_failure
from graph.review_content import content_at
from graph.state import RunState
from providers.orders import Approval, Order, OrderKey


async def order_publication(state: RunState, *, deps: Dependencies) -> RunState:
    """Order the publication of exactly what was approved."""
    last = state.get("publication")
    key = OrderKey(state["run"]["id"], "publication", attempt=last["attempt"] + 1 if last else 1)
    # The digest of what would be posted, not that in the decision: the ledger compares the two.
    approval = Approval(state["decisions"]["publish"]["number"], content_at("publish", state).digest)
    request = {"digest": state["film"]["digest"], "title": state["ideas"]["title"], **state["caption"]}
    await deps.ledger.place_once(Order(key, "publication", request, approval=approval))
    return {"publication": {"key": str(key), "attempt": key.attempt, "facts": {}}}


async def await_publication(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait until the publication is settled or has failed."""
    key = state["publication"]["key"]
    status = (await await_orders([key], "publication", deps))[key]
    if status.state == "settled":
        return {"route": "end", "publication": {**state["publication"], "facts": status.result}}
    if not await is_retry_requested(state, [status], deps):
        raise order_failure("The publication", status)
    return {"route": "order_publication"}
