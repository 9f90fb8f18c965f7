"""From approved ideas to clips: planned and reserved together, ordered one by one, awaited, taken again."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

from agents.shot_writer import rewrite_shot, shot_words, with_slate
from graph.nodes.waiting import StepFailed, all_over, asked_again, ideas_of, not_made, offer_shown, project_of
from graph.ports import Ports, Video
from graph.reviews import shown_at
from graph.state import ApprovedBy, Clip, Decided, Offer, Shot, ShownIdeas, State
from providers.base import ProviderError
from providers.orders import Approval, Order, Standing, digest_of

#: Why the ledger does not place an order. Trying again by itself would only be refused again.
REFUSED_HERE = ("budget_exceeded", "not_approved", "cancelled")
#: What a reviewer is told where something that was approved is shown again.
OFFER_CHANGED = "The model, its clips or their price have changed since this was approved, and nothing was ordered."
#: How a provider's moderation refuses a prompt.
MODERATED = ("moderation_blocked", "sentinel_block", "content_policy_violation")


def offer_of(video: Video, seconds: int, size: str) -> Offer:
    """What a clip of this length and size is at the moment: a person approves exactly that, and it is ordered so."""
    return Offer(model=video.model, seconds=seconds, size=size, usd_per_clip=str(video.price(seconds, size)))


async def plan_clips(state: State, *, ports: Ports) -> State:
    """Writes down every clip to be made, and reserves what they cost together, before any is ordered.

    Where clips cannot be had any more as they were shown, nothing is: they go back to the gate as they are now.
    """
    going, again, shown = state["going"], state.get("failed_shots", []), offer_shown(state, ports)
    approved = state["decisions"]["publish" if going["clips"] else "ideation"]
    under = _approval_of_round(state, approved)
    numbers = again or going["clips"] or state["ideas"]["make"]
    words = {number: _words(number, state, approved, ports) for number in numbers}
    shots = {**state.get("shots", {}), **{str(n): _shot(n, words[n], state, shown, under) for n in numbers}}
    # What was written down before a crash is ordered as it was written, whatever can be had by now.
    if not await ports.ledger.standing([shots[str(number)]["key"] for number in numbers]):
        offer = _offer_now(state, shown, ports)
        if offer != shown:
            return _shown_anew(state, offer, words)
    await ports.ledger.reserve([_order(shots[str(number)]) for number in numbers])
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


def _words(number: int, state: State, approved: Decided, ports: Ports) -> str:
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
    return shot_words(project_of(state, ports), ideas_of(state)[number - 1], note)


def _approval_of_round(state: State, approved: Decided) -> ApprovedBy:
    """What the clips of this round stand under."""
    remake = bool(state["going"]["clips"])
    # Of what would be made, not of what the decision says it was about: the ledger holds one against the other.
    digest = approved["approved_digest"] if remake else digest_of(shown_at("ideation", state))
    return ApprovedBy(decision=approved["number"], digest=digest or "", remake=remake)


def _shot(number: int, words: str, state: State, shown: Offer, under: ApprovedBy) -> Shot:
    """The next take of a clip, as it was approved. A take after a failed one stands under the approval of that one."""
    run_id, last = state["run"]["id"], state.get("shots", {}).get(str(number))
    take = last["take"] + 1 if last else 1
    stands: ApprovedBy = last if last and state.get("failed_shots") else under
    return Shot(
        number=number,
        take=take,
        key=f"{run_id}:clip:{number}:{take}",
        words=words,
        prompt=with_slate(words, _slate(run_id, number, take)),
        seconds=shown["seconds"],
        size=shown["size"],
        model=shown["model"],
        usd=shown["usd_per_clip"],
        decision=stands["decision"],
        digest=stands["digest"],
        remake=stands["remake"],
    )


def _offer_now(state: State, shown: Offer, ports: Ports) -> Offer:
    """How clips can be had now: as they were shown or, where none was made yet, as the project says by now."""
    try:
        return offer_of(ports.video, shown["seconds"], shown["size"])
    except ProviderError as error:
        if state.get("clips"):
            said = f"{error.message} Name a model that can make such clips, and let the run go on."
            raise StepFailed(error.code, said) from error
        project = project_of(state, ports)
        return offer_of(ports.video, project.clip_seconds, project.clip_size)


def _without_notice(ideas: ShownIdeas) -> ShownIdeas:
    """The ideas once they are ordered: what a reviewer had to know was said."""
    kept = ideas.copy()
    kept.pop("notice", None)
    return kept


def _shown_anew(state: State, offer: Offer, words: dict[int, str]) -> State:
    """Back to the gate, where these clips are shown as they can be had now; their words are kept."""
    return {
        "ideas": {**state["ideas"], **offer, "make": sorted(words), "notice": OFFER_CHANGED},
        "going": {**state["going"], "clips": [], "offer_changed": True},
        "failed_shots": [],
        "prompts": {**state.get("prompts", {}), **{str(number): said for number, said in words.items()}},
    }


async def order_clip(shot: Shot, *, ports: Ports) -> State:
    """Orders one clip."""
    await ports.ledger.once(_order(shot))
    return {}


async def await_clips(state: State, *, ports: Ports) -> State:
    """Waits until every clip of this round is made or failed.

    A failed one is taken again: with other words if moderation refused it, once; as often as the project says if
    not; and as a person wants who asked to try again, without whom none is that was charged for. One bad clip never
    costs the others.
    """
    shots = {number: state["shots"][str(number)] for number in state["ordered"]}
    standing = await all_over([shot["key"] for shot in shots.values()], "clips", ports)
    clips, made = dict(state.get("clips", {})), dict(state.get("made", {}))
    failed = []
    for number, shot in shots.items():
        of_clip = standing[shot["key"]]
        if of_clip.state == "settled":
            clips[str(number)] = clip_of(of_clip, shot["take"])
            made[str(number)] = {**made.get(str(number), {}), str(shot["take"]): shot["key"]}
        else:
            failed.append(number)
    change: State = {"clips": clips, "made": made, "failed_shots": failed}
    if failed and await asked_again(state, [standing[shots[number]["key"]] for number in failed], ports):
        wishes = await ports.inbox.wishes(state["run"]["id"])
        given_up = set(wishes["drop"]) & set(failed)
        # A clip that was to be made again is there, in an earlier take: that one stays in the film.
        change["dropped"] = sorted({*state.get("dropped", []), *(n for n in given_up if str(n) not in clips)})
        change["failed_shots"] = [number for number in failed if number not in given_up]
        change["prompts"] = {**state.get("prompts", {}), **wishes["prompts"]}
        return change
    for number in failed:
        of_clip = standing[shots[number]["key"]]
        if not _taken_again(state, of_clip, shots[number], project_of(state, ports).takes):
            raise not_made(f"Clip {number}", of_clip)
    return change


def _taken_again(state: State, of_clip: Standing, shot: Shot, takes: int) -> bool:
    """Whether a failed clip is taken again without asking anybody."""
    code = of_clip.result.get("code")
    if of_clip.state == "unknown" or code in REFUSED_HERE or of_clip.result.get("charged"):
        return False
    if code in MODERATED:
        return str(shot["number"]) not in state.get("prompts", {})
    return shot["take"] < takes


async def rewrite_shots(state: State, *, ports: Ports) -> State:
    """Has the words of shots that moderation refused written again, for the same ideas."""
    run, prompts = state["run"], dict(state.get("prompts", {}))
    shots = [state["shots"][str(number)] for number in state["failed_shots"]]
    standing = await ports.ledger.standing([shot["key"] for shot in shots])
    for shot in shots:
        refusal = standing[shot["key"]].result
        if refusal.get("code") not in MODERATED or str(shot["number"]) in prompts:
            continue
        answer = await ports.ledger.answer(
            f"{run['id']}:words:{shot['number']}:{shot['take']}",
            run["id"],
            partial(rewrite_shot, ports.model, shot["words"], str(refusal.get("message", ""))),
        )
        prompts[str(shot["number"])] = answer["prompt"]
    return {"prompts": prompts}


def clip_of(standing: Standing, take: int) -> Clip:
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
