"""From an approved film to a publication."""

from __future__ import annotations

from graph.nodes.waiting import all_over, asked_again, not_made
from graph.ports import Ports
from graph.reviews import shown_at
from graph.state import State
from providers.orders import Approval, Order, digest_of


async def order_publication(state: State, *, ports: Ports) -> State:
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
        approval=Approval(decision["number"], digest_of(shown_at("publish", state))),
    )
    await ports.ledger.once(order)
    return {"publication": {"key": key, "attempt": attempt, "facts": {}, "failed": False}}


async def await_publication(state: State, *, ports: Ports) -> State:
    """Waits until the publisher says how it went."""
    publication = state["publication"]
    standing = (await all_over([publication["key"]], "publication", ports))[publication["key"]]
    if standing.state == "settled":
        return {"publication": {**publication, "facts": standing.result}}
    if not await asked_again(state, [standing], ports):
        raise not_made("The publication", standing)
    return {"publication": {**publication, "failed": True}}
