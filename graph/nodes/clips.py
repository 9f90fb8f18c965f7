"""From approved ideas to clips: reserved together, ordered one by one, awaited, and taken again after a failure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import partial

from agents.shot_writer import rewrite_shot, shot_prompt, with_correlation_tag
from graph.decisions import DecisionState
from graph.dependencies import Dependencies, Video
from graph.nodes.orders import (
    StepFailed,
    await_orders,
    ideas_of,
    is_retry_requested,
    order_failure,
    project_of_run,
)
from graph.review_content import content_at
from graph.state import ApprovalState, Clip, Offer, RunState, Shot
from providers.base import ProviderError
from providers.orders import Approval, Order, OrderKey, OrderStatus, RetryOptions, digest_of

#: Codes with which the ledger refuses an order. Another attempt would be refused again.
LEDGER_REFUSALS = ("budget_exceeded", "not_approved", "cancelled")
#: Codes with which a provider's moderation refuses a prompt.
MODERATION_REFUSALS = ("moderation_blocked", "sentinel_block", "content_policy_violation")
OFFER_CHANGED = "The model, its clips or their price have changed since this was approved, and nothing was ordered."


def clip_offer(video: Video, seconds: int, size: str) -> Offer:
    """Return the current offer for a clip of this length and size. Raises ProviderError if there is none."""
    return Offer(model=video.model, seconds=seconds, size=size, usd_per_clip=str(video.price(seconds, size)))


def clip_of(status: OrderStatus, take: int) -> Clip:
    """Return the clip that a settled order produced."""
    return Clip(shot=status.key, take=take, digest=status.result["digest"], seconds=status.result["seconds"])


async def plan_clips(state: RunState, *, deps: Dependencies) -> RunState:
    """Plan the clips of this round and reserve their cost together, before any of them is ordered.

    When the offer differs from the approved one nothing is reserved: the clips go back to the ideation gate.
    """
    shots, failed, prompts = _plan_round(state, deps), state.get("failed_shots", []), state.get("prompts", {})
    # Orders that were recorded before a crash are placed as recorded, even if the offer is a different one now.
    if not await deps.ledger.statuses([shot["key"] for shot in shots.values()]):
        offer = _current_offer(state, deps)
        if offer != _approved_offer(state):
            return _reoffer(state, offer, shots)
    await deps.ledger.reserve([_order(shot) for shot in shots.values()])
    numbers = [int(number) for number in shots]
    return {
        "route": "order_clip" if shots else "await_clips",
        "ideas": {**state["ideas"], "notice": None},
        "shots": {**state.get("shots", {}), **shots},
        "ordered": numbers,
        "failed_shots": [],
        # A rewritten prompt is kept for further takes, until a reviewer requests another clip.
        "prompts": prompts if failed else {n: text for n, text in prompts.items() if int(n) not in numbers},
        "reoffered_prompts": {},
    }


def _plan_round(state: RunState, deps: Dependencies) -> dict[str, Shot]:
    """Return the next takes by number: of failed clips, else of clips that the reviewer named, else of the offer."""
    change = state["change"]
    decision = state["decisions"]["publish" if change["clips"] else "ideation"]
    approval = _approval_of_round(state, decision)
    numbers = state.get("failed_shots") or change["clips"] or state["ideas"]["make"]
    return {str(n): _shot(n, _words(n, state, decision, deps), state, approval) for n in numbers}


def _words(number: int, state: RunState, decision: DecisionState, deps: Dependencies) -> str:
    """Return the prompt of a clip without its tag: a prompt kept from before, or one from its idea and note."""
    key, change = str(number), state["change"]
    kept = {} if "ideas" in decision["edited"] else state.get("reoffered_prompts", {})
    if state.get("failed_shots"):
        last = state.get("shots", {}).get(key)
        kept = {**({key: last["words"]} if last else {}), **state.get("prompts", {})}
    if key in kept:
        return kept[key]
    notes = {note["clip"]: note["comment"] for note in decision["clips"]}
    note = notes.get(number) or (change["comment"] if change["target"] == "clips" else "")
    return shot_prompt(project_of_run(state, deps), ideas_of(state)[number - 1], note)


def _approval_of_round(state: RunState, decision: DecisionState) -> ApprovalState:
    """Return the approval of the clips of this round."""
    remake = bool(state["change"]["clips"])
    # The digest of what would be ordered, not that in the decision: the ledger compares the two.
    digest = decision["approved_digest"] if remake else content_at("ideation", state).digest
    return ApprovalState(decision=decision["number"], digest=digest or "", remake=remake)


def _shot(number: int, words: str, state: RunState, approval: ApprovalState) -> Shot:
    """Return the next take of a clip as it was approved. A take after a failed one keeps the approval of that one."""
    run_id, ideas, last = state["run"]["id"], state["ideas"], state.get("shots", {}).get(str(number))
    if last and state.get("failed_shots"):
        approval = last
    take = last["take"] + 1 if last else 1
    return Shot(
        number=number,
        take=take,
        key=str(OrderKey(run_id, "clip", number, take)),
        words=words,
        prompt=with_correlation_tag(words, f"{digest_of(run_id)[:8]}-{number}-{take}"),
        seconds=ideas["seconds"],
        size=ideas["size"],
        model=ideas["model"],
        usd=ideas["usd_per_clip"],
        decision=approval["decision"],
        digest=approval["digest"],
        remake=approval["remake"],
    )


def _approved_offer(state: RunState) -> Offer:
    ideas = state["ideas"]
    return Offer(model=ideas["model"], seconds=ideas["seconds"], size=ideas["size"], usd_per_clip=ideas["usd_per_clip"])


def _current_offer(state: RunState, deps: Dependencies) -> Offer:
    """Return the offer for the approved length and size or, while no clip exists, for those of the project now."""
    try:
        return clip_offer(deps.video, state["ideas"]["seconds"], state["ideas"]["size"])
    except ProviderError as error:
        if state.get("clips"):
            advice = f"{error.message} Set a model that can generate such clips, and retry the run."
            raise StepFailed(error.code, advice) from error
        project = project_of_run(state, deps)
        return clip_offer(deps.video, project.clip_seconds, project.clip_size)


def _reoffer(state: RunState, offer: Offer, shots: Mapping[str, Shot]) -> RunState:
    """Return to the ideation gate with the new offer for these clips; their prompts are kept."""
    return {
        "route": "ideation_gate",
        "ideas": {**state["ideas"], **offer, "make": sorted(map(int, shots)), "notice": OFFER_CHANGED},
        "change": {**state["change"], "clips": []},
        "failed_shots": [],
        "reoffered_prompts": {number: shot["words"] for number, shot in shots.items()},
    }


async def order_clip(shot: Shot, *, deps: Dependencies) -> RunState:
    """Order one clip."""
    await deps.ledger.place_once(_order(shot))
    return {}


def _order(shot: Shot) -> Order:
    return Order(
        key=OrderKey.parse(shot["key"]),
        kind="clip",
        request={"model": shot["model"], "prompt": shot["prompt"], "seconds": shot["seconds"], "size": shot["size"]},
        amount_usd=Decimal(shot["usd"]),
        approval=Approval(shot["decision"], shot["digest"], shot["number"] if shot["remake"] else None),
    )


async def await_clips(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait until every clip of this round is settled or has failed.

    A failed clip gets another take without a person once if moderation refused its prompt, and otherwise up to the
    project's number of takes, unless it was charged. A retry of a person decides about any failed clip. One failed
    clip never affects the others.
    """
    shots = {number: state["shots"][str(number)] for number in state["ordered"]}
    statuses = await await_orders([shot["key"] for shot in shots.values()], "clips", deps)
    clips, made, failed = dict(state.get("clips", {})), dict(state.get("made", {})), dict[int, OrderStatus]()
    for number, shot in shots.items():
        status, key = statuses[shot["key"]], str(number)
        if status.state == "settled":
            clips[key] = clip_of(status, shot["take"])
            made[key] = {**made.get(key, {}), str(shot["take"]): shot["key"]}
        else:
            failed[number] = status
    update: RunState = {"clips": clips, "made": made, "failed_shots": list(failed)}
    if failed and await is_retry_requested(state, list(failed.values()), deps):
        options = await deps.feedback.retry_options(state["run"]["id"])
        update = {**update, **_apply_retry(state, options, failed, clips)}
    else:
        takes = project_of_run(state, deps).takes
        for number, status in failed.items():
            if not _gets_another_take(state, status, shots[number], takes):
                raise order_failure(f"Clip {number}", status)
    return {**update, "route": "rewrite_shots" if update["failed_shots"] else "order_render"}


def _apply_retry(
    state: RunState, options: RetryOptions, failed: Collection[int], clips: Mapping[str, Clip]
) -> RunState:
    """Return the channels that a retry changes. A dropped clip stays in the film in an earlier take if it has one."""
    given_up = set(options["drop"]) & set(failed)
    return {
        "dropped": sorted({*state.get("dropped", []), *(n for n in given_up if str(n) not in clips)}),
        "failed_shots": [number for number in failed if number not in given_up],
        "prompts": {**state.get("prompts", {}), **options["prompts"]},
    }


def _gets_another_take(state: RunState, status: OrderStatus, shot: Shot, takes: int) -> bool:
    """Return whether a failed clip gets another take without a person."""
    code = status.result.get("code")
    if status.state == "unknown" or code in LEDGER_REFUSALS or status.result.get("charged"):
        return False
    if code in MODERATION_REFUSALS:
        return str(shot["number"]) not in state.get("prompts", {})
    return shot["take"] < takes


async def rewrite_shots(state: RunState, *, deps: Dependencies) -> RunState:
    """Rewrite the prompts that moderation refused, for the same ideas."""
    prompts = dict(state.get("prompts", {}))
    shots = [state["shots"][str(number)] for number in state["failed_shots"]]
    statuses = await deps.ledger.statuses([shot["key"] for shot in shots])
    for shot in shots:
        refusal, key = statuses[shot["key"]].result, str(shot["number"])
        if refusal.get("code") not in MODERATION_REFUSALS or key in prompts:
            continue
        answer = await deps.ledger.cached_answer(
            OrderKey(state["run"]["id"], "rewrite", shot["number"], shot["take"]),
            partial(rewrite_shot, deps.model, shot["words"], str(refusal.get("message", ""))),
        )
        prompts[key] = answer["prompt"]
    return {"prompts": prompts}
