"""Narrations: each text is ordered once, with the clips, and awaited before the film is rendered."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from pydantic import TypeAdapter

from graph.dependencies import Dependencies
from graph.nodes.orders import await_orders, decision_at, order_failure, requested_retry
from graph.review_content import content_at, used_ideas
from graph.state import IdeasState, RunState
from prompts.project import Project
from providers.orders import Approval, Order, OrderKey, OrderStatus
from providers.renders.manifest import Narration
from providers.speech import SpeechOffer

#: Orders as the state keeps them, in JSON, by the words to speak.
_ORDERS = TypeAdapter(dict[str, Order])


def speech_offer(project: Project, offer: SpeechOffer | None) -> SpeechOffer | None:
    """Return the offer for the voice of the project, or None without a voice or a server."""
    return offer.model_copy(update={"voice": project.voice}) if offer and project.voice else None


def with_speech(ideas: IdeasState, offer: SpeechOffer | None, narrated: Collection[str] = ()) -> IdeasState:
    """Return the ideas with this offer and the texts that are ordered already; without one, without narrations."""
    ideas = {**ideas}
    if offer:
        return {**ideas, "speech": offer.model_dump(mode="json"), "narrated": sorted(narrated)}
    ideas.pop("speech", None)
    ideas.pop("narrated", None)
    return {**ideas, "ideas": [{n: text for n, text in idea.items() if n != "narration"} for idea in ideas["ideas"]]}


def is_offered(ideas: IdeasState, offer: SpeechOffer | None) -> bool:
    """Return whether the approved narrations are offered as they were approved."""
    return "speech" not in ideas or (offer is not None and ideas["speech"] == offer.model_dump(mode="json"))


def plan_speech(state: RunState) -> dict[str, Order]:
    """Return the orders of the run's narrations, after an approval of ideas with those of its new words."""
    orders = _ORDERS.validate_python(state.get("speech", {}))
    if "speech" not in state["ideas"] or state.get("failed_shots") or state["change"]["clips"]:
        return orders
    offer = SpeechOffer.model_validate(state["ideas"]["speech"])
    approval = Approval(decision_at("ideation", state).number, content_at("ideation", state).digest)
    for words in filter(None, (idea.narration for _, idea in used_ideas(state))):
        request, known = offer.request_for(words), orders.get(words)
        if known is None or known.request != request:
            number, attempt = (known.key.number, known.key.attempt + 1) if known else (len(orders) + 1, 1)
            key = OrderKey(state["run_id"], "speech", number, attempt)
            orders[words] = Order(key, "speech", request, offer.usd_of([words]), approval)
    return orders


def speech_update(ideas: IdeasState, orders: dict[str, Order]) -> RunState:
    """Return the channels of the ideas and of these orders; without any, only that of the ideas."""
    if not orders or "speech" not in ideas:
        return {"ideas": ideas}
    return {"ideas": {**ideas, "narrated": sorted(orders)}, "speech": _ORDERS.dump_python(orders, mode="json")}


def _used_orders(state: RunState) -> dict[int, Order]:
    """Return the orders of the narrations in the film by the number of the clip."""
    orders = _ORDERS.validate_python(state.get("speech", {}))
    return {number: orders[idea.narration] for number, idea in used_ideas(state) if idea.narration in orders}


def _failed(orders: Mapping[str, Order], statuses: Mapping[str, OrderStatus]) -> dict[str, Order]:
    return {words: order for words, order in orders.items() if statuses[str(order.key)].state != "settled"}


async def await_narration(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait for the narrations of the film; order those again that failed, if that was requested after it."""
    orders = {order.request["input"]: order for order in _used_orders(state).values()}
    while True:
        statuses = await await_orders([str(order.key) for order in orders.values()], "narration", deps)
        failed = _failed(orders, statuses)
        if not failed:
            return {"speech": {**state["speech"], **_ORDERS.dump_python(orders, mode="json")}}
        ended = [statuses[str(order.key)] for order in failed.values()]
        if not await requested_retry(state, ended, deps):
            raise order_failure("The narration", ended[0])
        for words, order in failed.items():
            orders[words] = replace(order, key=replace(order.key, attempt=order.key.attempt + 1))
        await deps.ledger.reserve([orders[words] for words in failed])


async def narrations_of(state: RunState, deps: Dependencies) -> dict[int, Narration]:
    """Return the narrations of the film by the number of the clip."""
    orders = _used_orders(state)
    statuses = await deps.ledger.statuses([str(order.key) for order in orders.values()]) if orders else {}
    made = {n: (statuses[str(order.key)].result["digest"], order.request) for n, order in orders.items()}
    return {n: Narration(digest=digest, text=each["input"], model=each["model"]) for n, (digest, each) in made.items()}
