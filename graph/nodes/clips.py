"""From approved ideas to clips: planned and reserved together, ordered one by one, awaited, taken again."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

from agents.shot_writer import rewrite_shot, shot_prompt, with_correlation_tag
from graph.dependencies import Dependencies, Video
from graph.nodes.orders import (
    StepFailed,
    approved_offer,
    await_orders,
    ideas_of,
    order_failure,
    project_of_run,
    retry_requested,
)
from graph.review_content import content_at
from graph.state import ApprovalRef, Clip, DecisionState, IdeasState, Offer, RunState, Shot
from providers.base import ProviderError
from providers.orders import Approval, Order, OrderStatus, digest_of

#: Why the ledger does not place an order. Trying again by itself would only be refused again.
REFUSED_HERE = ("budget_exceeded", "not_approved", "cancelled")
#: What a reviewer is told where something that was approved is shown again.
OFFER_CHANGED = "The model, its clips or their price have changed since this was approved, and nothing was ordered."
#: How a provider's moderation refuses a prompt.
MODERATED = ("moderation_blocked", "sentinel_block", "content_policy_violation")


def clip_offer(video: Video, seconds: int, size: str) -> Offer:
    """What a clip of this length and size is at the moment: a person approves exactly that, and it is ordered so."""
    return Offer(model=video.model, seconds=seconds, size=size, usd_per_clip=str(video.price(seconds, size)))


async def plan_clips(state: RunState, *, deps: Dependencies) -> RunState:
    """Writes down every clip to be made, and reserves what they cost together, before any is ordered.

    Where clips cannot be had any more as they were shown, nothing is: they go back to the gate as they are now.
    """
    going, again, content = state["going"], state.get("failed_shots", []), approved_offer(state, deps)
    approved = state["decisions"]["publish" if going["clips"] else "ideation"]
    under = _approval_of_round(state, approved)
    numbers = again or going["clips"] or state["ideas"]["make"]
    words = {number: _words(number, state, approved, deps) for number in numbers}
    shots = {**state.get("shots", {}), **{str(n): _shot(n, words[n], state, content, under) for n in numbers}}
    # What was written down before a crash is ordered as it was written, whatever can be had by now.
    if not await deps.ledger.statuses([shots[str(number)]["key"] for number in numbers]):
        offer = _offer_now(state, content, deps)
        if offer != content:
            return _shown_anew(state, offer, words)
    await deps.ledger.reserve([_order(shots[str(number)]) for number in numbers])
    # New words stand for a shot until it is asked to be something else.
    prompts = {n: said for n, said in state.get("prompts", {}).items() if again or int(n) not in numbers}
    return {
        "going": {**going, "offer_changed": False},
        "ideas": _without_notice(state["ideas"]),
        "shots": shots,
        "ordered": numbers,
        "failed_shots": [],
        "prompts": prompts,
    }


def _words(number: int, state: RunState, approved: DecisionState, deps: Dependencies) -> str:
    """What a clip is asked to be: in the words that were found for it, or in those of its idea and the note on it."""
    going, again = state["going"], state.get("failed_shots", [])
    shown_anew = going.get("offer_changed", False) and "ideas" not in approved["edited"]
    last = state.get("shots", {}).get(str(number))
    if (again or shown_anew) and str(number) in state.get("prompts", {}):
        return state["prompts"][str(number)]
    if again and last:
        return last["words"]
    notes = {note["clip"]: note["comment"] for note in approved["clips"]}
    note = notes.get(number) or (going["comment"] if going["step"] == "clips" else "")
    return shot_prompt(project_of_run(state, deps), ideas_of(state)[number - 1], note)


def _approval_of_round(state: RunState, approved: DecisionState) -> ApprovalRef:
    """What the clips of this round stand under."""
    remake = bool(state["going"]["clips"])
    # Of what would be made, not of what the decision says it was about: the ledger holds one against the other.
    digest = approved["approved_digest"] if remake else digest_of(content_at("ideation", state))
    return ApprovalRef(decision=approved["number"], digest=digest or "", remake=remake)


def _shot(number: int, words: str, state: RunState, content: Offer, under: ApprovalRef) -> Shot:
    """The next take of a clip, as it was approved. A take after a failed one stands under the approval of that one."""
    run_id, last = state["run"]["id"], state.get("shots", {}).get(str(number))
    take = last["take"] + 1 if last else 1
    stands: ApprovalRef = last if last and state.get("failed_shots") else under
    return Shot(
        number=number,
        take=take,
        key=f"{run_id}:clip:{number}:{take}",
        words=words,
        prompt=with_correlation_tag(words, _slate(run_id, number, take)),
        seconds=content["seconds"],
        size=content["size"],
        model=content["model"],
        usd=content["usd_per_clip"],
        decision=stands["decision"],
        digest=stands["digest"],
        remake=stands["remake"],
    )


def _offer_now(state: RunState, content: Offer, deps: Dependencies) -> Offer:
    """How clips can be had now: as they were shown or, where none was made yet, as the project says by now."""
    try:
        return clip_offer(deps.video, content["seconds"], content["size"])
    except ProviderError as error:
        if state.get("clips"):
            said = f"{error.message} Name a model that can make such clips, and let the run go on."
            raise StepFailed(error.code, said) from error
        project = project_of_run(state, deps)
        return clip_offer(deps.video, project.clip_seconds, project.clip_size)


def _without_notice(ideas: IdeasState) -> IdeasState:
    """The ideas once they are ordered: what a reviewer had to know was said."""
    kept = ideas.copy()
    kept.pop("notice", None)
    return kept


def _shown_anew(state: RunState, offer: Offer, words: dict[int, str]) -> RunState:
    """Back to the gate, where these clips are shown as they can be had now; their words are kept."""
    return {
        "ideas": {**state["ideas"], **offer, "make": sorted(words), "notice": OFFER_CHANGED},
        "going": {**state["going"], "clips": [], "offer_changed": True},
        "failed_shots": [],
        "prompts": {**state.get("prompts", {}), **{str(number): said for number, said in words.items()}},
    }


async def order_clip(shot: Shot, *, deps: Dependencies) -> RunState:
    """Orders one clip."""
    await deps.ledger.place_once(_order(shot))
    return {}


async def await_clips(state: RunState, *, deps: Dependencies) -> RunState:
    """Waits until every clip of this round is made or failed.

    A failed one is taken again: with other words if moderation refused it, once; as often as the project says if
    not; and as a person wants who asked to try again, without whom none is that was charged for. One bad clip never
    costs the others.
    """
    shots = {number: state["shots"][str(number)] for number in state["ordered"]}
    standing = await await_orders([shot["key"] for shot in shots.values()], "clips", deps)
    clips, made = dict(state.get("clips", {})), dict(state.get("made", {}))
    failed = []
    for number, shot in shots.items():
        of_clip = standing[shot["key"]]
        if of_clip.state == "settled":
            clips[str(number)] = clip_of(of_clip, shot["take"])
            made[str(number)] = {**made.get(str(number), {}), str(shot["take"]): shot["key"]}
        else:
            failed.append(number)
    change: RunState = {"clips": clips, "made": made, "failed_shots": failed}
    if failed and await retry_requested(state, [standing[shots[number]["key"]] for number in failed], deps):
        wishes = await deps.feedback.retry_options(state["run"]["id"])
        given_up = set(wishes["drop"]) & set(failed)
        # A clip that was to be made again is there, in an earlier take: that one stays in the film.
        change["dropped"] = sorted({*state.get("dropped", []), *(n for n in given_up if str(n) not in clips)})
        change["failed_shots"] = [number for number in failed if number not in given_up]
        change["prompts"] = {**state.get("prompts", {}), **wishes["prompts"]}
        return change
    for number in failed:
        of_clip = standing[shots[number]["key"]]
        if not _taken_again(state, of_clip, shots[number], project_of_run(state, deps).takes):
            raise order_failure(f"Clip {number}", of_clip)
    return change


def _taken_again(state: RunState, of_clip: OrderStatus, shot: Shot, takes: int) -> bool:
    """Whether a failed clip is taken again without asking anybody."""
    code = of_clip.result.get("code")
    if of_clip.state == "unknown" or code in REFUSED_HERE or of_clip.result.get("charged"):
        return False
    if code in MODERATED:
        return str(shot["number"]) not in state.get("prompts", {})
    return shot["take"] < takes


async def rewrite_shots(state: RunState, *, deps: Dependencies) -> RunState:
    """Has the words of shots that moderation refused written again, for the same ideas."""
    run, prompts = state["run"], dict(state.get("prompts", {}))
    shots = [state["shots"][str(number)] for number in state["failed_shots"]]
    standing = await deps.ledger.statuses([shot["key"] for shot in shots])
    for shot in shots:
        refusal = standing[shot["key"]].result
        if refusal.get("code") not in MODERATED or str(shot["number"]) in prompts:
            continue
        answer = await deps.ledger.cached_answer(
            f"{run['id']}:words:{shot['number']}:{shot['take']}",
            run["id"],
            partial(rewrite_shot, deps.model, shot["words"], str(refusal.get("message", ""))),
        )
        prompts[str(shot["number"])] = answer["prompt"]
    return {"prompts": prompts}


def clip_of(standing: OrderStatus, take: int) -> Clip:
    return Clip(shot=standing.key, take=take, digest=standing.result["digest"], seconds=standing.result["seconds"])


def _order(shot: Shot) -> Order:
    return Order(
        key=shot["key"],
        run_id=shot["key"].split(":", 1)[0],
        kind="clip",
        request={key: shot[key] for key in ("model", "prompt", "seconds", "size")},
        amount_usd=Decimal(shot["usd"]),
        approval=Approval(shot["decision"], shot["digest"], shot["number"] if shot["remake"] else None),
    )


def _slate(run_id: str, number: int, take: int) -> str:
    return f"{digest_of(run_id)[:8]}-{number}-{take}"
