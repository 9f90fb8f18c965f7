"""From an approved film to a publication."""

from graph.dependencies import Dependencies
from graph.nodes.orders import await_settled, decision_at
from graph.review_content import content_at
from graph.state import RunState
from providers.orders import Approval, Order, OrderKey


async def order_publication(state: RunState, *, deps: Dependencies) -> RunState:
    """Order the publication of exactly what was approved. The ledger sends an order once: nothing is posted twice."""
    last = state.get("publication_key")
    key = OrderKey(state["run_id"], "publication", attempt=OrderKey.parse(last).attempt + 1 if last else 1)
    # The digest of what would be posted, not that in the decision: the ledger compares the two.
    approval = Approval(decision_at("publish", state).number, content_at("publish", state).digest)
    request = {"digest": state["film"]["digest"], "title": state["ideas"]["title"], **state["caption"]}
    await deps.ledger.place_once(Order(key, "publication", request, approval=approval))
    return {"publication_key": str(key)}


async def await_publication(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait until the publication is settled or has failed."""
    order = await await_settled(state["publication_key"], state, deps)
    return {"route": "end", "publication": order.result} if order else {"route": "order_publication"}
