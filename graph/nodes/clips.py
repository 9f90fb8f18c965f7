"""From approved ideas to clips: reserved together, ordered one by one, awaited, and taken again after a failure."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import cast

from pydantic import TypeAdapter

from agents.roles import rewrite_shot, shot_prompt, with_correlation_tag, without_correlation_tag
from graph.decisions import GateDecision
from graph.dependencies import Dependencies
from graph.nodes.changes import mark_done
from graph.nodes.narration import is_offered, plan_speech, speech_offer, speech_update, with_speech
from graph.nodes.orders import StepFailed, await_orders, decision_at, order_failure, project_of_run, requested_retry
from graph.review_content import content_at, ideas_of, used_ideas
from graph.state import Clip, IdeasState, Offer, RunState
from prompts.project import VideoChoice
from providers.base import Json, ProviderError
from providers.orders import NOT_AWAITED, Approval, Order, OrderKey, OrderStatus
from providers.video_models import VideoModels, VideoOffer

#: Codes with which the ledger refuses an order. Another attempt would be refused again.
LEDGER_REFUSALS = ("budget_exceeded", "not_approved", "cancelled", NOT_AWAITED)
OFFER_CHANGED = "The model, its clips or their price have changed since this was approved, and nothing was ordered."

#: Orders as the state keeps them, in JSON.
_ORDER = TypeAdapter(Order)


async def clip_offer(video: VideoModels, seconds: int, size: str, *choices: VideoChoice | None) -> Offer:
    """Return the current offer for a clip of this length and size, at a quoted price where there is one.

    Raises ProviderError if there is no offer.
    """
    return _offer_state(await video.with_quote(video.offer(seconds, size, *choices)))


def _offer_state(offer: VideoOffer) -> Offer:
    return cast("Offer", {**vars(offer), "usd_per_clip": str(offer.usd_per_clip)})


async def plan_clips(state: RunState, *, deps: Dependencies) -> RunState:
    """Plan the clips of this round and reserve their cost together, before any of them is ordered.

    When the offer differs from the approved one nothing is reserved: the clips go back to the ideation gate.
    """
    ideas, prompts, orders = state["ideas"], state.get("prompts", {}), _plan_round(state, deps)
    # Orders that were recorded before a crash are placed as recorded, even if the offer is a different one now.
    if not await deps.ledger.statuses([str(order.key) for order in orders.values()]):
        current = _current_offer(state, deps)
        narrator = speech_offer(project_of_run(state, deps), deps.speech)
        if not all((_is_approved(current, ideas), is_offered(ideas, narrator))):
            offer = _offer_state(await deps.video.with_quote(current))
            return {
                "route": "ideation_gate",
                "ideas": with_speech({**ideas, **offer, "make": sorted(orders), "notice": OFFER_CHANGED}, narrator),
                "change": {**state["change"], "clips": []},
                "failed_shots": [],
                "reoffered_prompts": {str(number): _words_of(order) for number, order in orders.items()},
            }
    speech = plan_speech(state)
    await deps.ledger.reserve([*orders.values(), *speech.values()])
    planned = {str(number): _ORDER.dump_python(order, mode="json") for number, order in orders.items()}
    return {
        "route": "order_clip" if orders else "await_clips",
        **speech_update({**ideas, "notice": None}, speech),
        "shots": {**state.get("shots", {}), **planned},
        "ordered": list(orders),
        "failed_shots": [],
        # A rewritten prompt is kept for further takes, until a reviewer requests another clip.
        "prompts": prompts if state.get("failed_shots") else {n: prompts[n] for n in prompts if n not in planned},
        "reoffered_prompts": {},
    }


def _is_approved(offer: VideoOffer, ideas: IdeasState) -> bool:
    """Return whether the offer, at the price of its profile, is the approved one."""
    # A quoted price is a part of the approval, and the clip is not quoted again: a quote that moves between two calls,
    # if only by a rounding, would reopen the gate each time. The vendor's charge is compared with it afterwards.
    ignored = ("price_source", "usd_per_clip" if ideas.get("price_source") == "quote" else "")
    # The approved offer of an earlier version names less.
    return all(ideas.get(name, value) == value for name, value in _offer_state(offer).items() if name not in ignored)


def _plan_round(state: RunState, deps: Dependencies) -> dict[int, Order]:
    """Return the next takes by number: of failed clips, else of clips that the reviewer named, else of the offer."""
    last, prompts = _newest_orders(state), state.get("prompts", {})
    if failed := state.get("failed_shots"):
        # A take after a failed one keeps the approval of that one.
        return {n: _order(n, prompts.get(str(n), _words_of(last[n])), last[n].approval, state, deps) for n in failed}
    remade = state["change"]["clips"]
    decision = decision_at("publish" if remade else "ideation", state)
    # The digest of what would be ordered, not that in the decision: the ledger compares the two.
    digest = decision.approved_digest if remade else content_at("ideation", state).digest
    numbers = remade or state["ideas"]["make"]
    approvals = {n: Approval(decision.number, digest or "", n if remade else None) for n in numbers}
    return {n: _order(n, _choose_words(n, decision, state, deps), approvals[n], state, deps) for n in numbers}


def _newest_orders(state: RunState) -> dict[int, Order]:
    return {int(number): _ORDER.validate_python(order) for number, order in state.get("shots", {}).items()}


def _choose_words(number: int, decision: GateDecision, state: RunState, deps: Dependencies) -> str:
    """Return the prompt of a clip without its tag: one kept for a new offer, or one from its idea and note."""
    kept, change = state.get("reoffered_prompts", {}).get(str(number)), state["change"]
    if kept is not None and "ideas" not in decision.edited:
        return kept
    notes = {note.clip: note.comment for note in decision.clips}
    note = notes.get(number) or change.get("notes", {}).get(str(number))
    if not note:
        note = change["comment"] if change["target"] == "clips" else ""
    return shot_prompt(project_of_run(state, deps), ideas_of(state)[number - 1], note)


def _words_of(order: Order) -> str:
    return without_correlation_tag(order.request["prompt"])


def _order(number: int, words: str, approval: Approval | None, state: RunState, deps: Dependencies) -> Order:
    """Return the order of the next take of a clip, as it was approved."""
    run_id, ideas, last = state["run_id"], state["ideas"], _newest_orders(state).get(number)
    take = last.key.attempt + 1 if last else 1
    key, usd = OrderKey(run_id, "clip", number, take), Decimal(ideas["usd_per_clip"])
    prompt = with_correlation_tag(words, key)
    request = {"model": ideas["model"], "prompt": prompt, "seconds": ideas["seconds"], "size": ideas["size"]}
    provider = ideas.get("provider", "")
    if ideas.get("sound") is not None:
        request["sound"] = ideas["sound"]
    if image := ideas_of(state)[number - 1].image:
        request["image"] = image
    if callback := deps.video.callbacks.get(provider):
        request["callback"] = callback
    return Order(key, "clip", request, usd, approval, provider)


def _current_offer(state: RunState, deps: Dependencies) -> VideoOffer:
    """Return the offer for the approved length and size or, while no clip exists, for those of the project now.

    It is that of the approved provider and model as long as they are offered, at the price of the profile.
    """
    ideas, project = state["ideas"], project_of_run(state, deps)
    approved = VideoChoice(provider=ideas.get("provider"), model=ideas["model"], sound=ideas.get("sound"))
    try:
        return deps.video.offer(ideas["seconds"], ideas["size"], approved, project.video)
    except ProviderError as error:
        if state.get("clips"):
            advice = f"{error.message} Set a model that can generate such clips, and retry the run."
            raise StepFailed(error.code, advice) from error
        return deps.video.offer(project.clip_seconds, project.clip_size, project.video)


async def order_clip(reserved: Json, *, deps: Dependencies) -> RunState:
    """Place the reserved order of one clip, given by its `key`."""
    await deps.ledger.place(str(OrderKey(**reserved["key"])))
    return {}


async def await_clips(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait until every clip of this round is settled or has failed.

    A failed clip gets another take without a person once if moderation refused its prompt, and otherwise up to the
    project's number of takes, unless it was charged. A retry of a person decides about any failed clip: a dropped one
    stays in the film in an earlier take if it has one. One failed clip never affects the others.
    """
    clips, made, failed = dict(state.get("clips", {})), dict(state.get("made", {})), dict[int, OrderStatus]()
    orders = _newest_orders(state)
    statuses = await await_orders([str(orders[number].key) for number in state["ordered"]], "clips", deps)
    for number in state["ordered"]:
        key, text = orders[number].key, str(number)
        status = statuses[str(key)]
        if status.state == "settled":
            clips[text] = Clip(take=key.attempt, digest=status.result["digest"])
            made[text] = {**made.get(text, {}), str(key.attempt): status.key}
        else:
            failed[number] = status
    update: RunState = {"clips": clips, "made": made, **await _plan_retakes(failed, clips, state, deps)}
    newest = {n for n, order in orders.items() if str(n) in clips and clips[str(n)]["take"] == order.key.attempt}
    update.update(mark_done(state, "clips", newest))
    return {**update, **_next_round({**state, **update})}


def _next_round(state: RunState) -> RunState:
    """Return the update that continues: with other takes, the offer for the clips a sample left out, or the render."""
    if state["failed_shots"]:
        return {"route": "rewrite_shots"}
    missing = [number for number, _ in used_ideas(state) if str(number) not in state["clips"]]
    if not missing:
        return {"route": "await_narration" if state.get("speech") else "order_render"}
    usd = Decimal(state["ideas"]["usd_per_clip"]) * len(missing)
    others = f"{len(missing)} clips cost" if len(missing) > 1 else "clip costs"
    notice = f"The sample is generated. The other {others} {usd:.2f} USD."
    return {"route": "ideation_gate", "ideas": {**state["ideas"], "make": missing, "notice": notice}}


async def _plan_retakes(
    failed: Mapping[int, OrderStatus], clips: Collection[str], state: RunState, deps: Dependencies
) -> RunState:
    """Return which failed clips get another take, and what a retry changes. Raises StepFailed if a clip gets none."""
    if retry := await requested_retry(state, failed.values(), deps):
        dropped = set(retry["drop"]) & set(failed)
        return {
            "dropped": sorted({*state.get("dropped", []), *(n for n in dropped if str(n) not in clips)}),
            "failed_shots": [number for number in failed if number not in dropped],
            "prompts": {**state.get("prompts", {}), **retry["prompts"]},
        }
    for number, status in failed.items():
        if not _gets_another_take(status, state, deps):
            raise order_failure(f"Clip {number}", status)
    return {"failed_shots": list(failed)}


def _gets_another_take(status: OrderStatus, state: RunState, deps: Dependencies) -> bool:
    """Return whether a failed clip gets another take without a person."""
    code, key = status.result.get("code"), OrderKey.parse(status.key)
    if status.state == "unknown" or code in LEDGER_REFUSALS or status.result.get("charged"):
        return False
    if _is_moderated(status, deps):
        return str(key.number) not in state.get("prompts", {})
    return key.attempt < project_of_run(state, deps).takes


def _is_moderated(status: OrderStatus, deps: Dependencies) -> bool:
    return deps.video.is_moderation(str(status.result.get("code")), str(status.result.get("message", "")))


async def rewrite_shots(state: RunState, *, deps: Dependencies) -> RunState:
    """Rewrite the prompts that moderation refused, for the same ideas."""
    prompts, orders = dict(state.get("prompts", {})), _newest_orders(state)
    statuses = await deps.ledger.statuses([str(orders[number].key) for number in state["failed_shots"]])
    for number in state["failed_shots"]:
        key = orders[number].key
        status = statuses[str(key)]
        if _is_moderated(status, deps) and str(number) not in prompts:
            reason = str(status.result.get("message", ""))
            request = partial(rewrite_shot, deps.model, _words_of(orders[number]), reason)
            answer = await deps.ledger.cached_answer(replace(key, kind="rewrite"), request)
            prompts[str(number)] = answer["prompt"]
    return {"prompts": prompts}
