"""From approved ideas to clips: planned and reserved together, ordered one by one, awaited, taken again."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

from agents.shot_writer import rewrite_shot, shot_words, with_slate
from graph.nodes.waiting import all_over, asked_again, ideas_of, not_made, project_of
from graph.ports import Ports, Video
from graph.reviews import shown_at
from graph.state import Clip, Offer, Shot, State
from providers.orders import Approval, Order, Standing, digest_of

#: Why the ledger does not place an order. Trying again by itself would only be refused again.
REFUSED_HERE = ("budget_exceeded", "not_approved", "cancelled")
#: How a provider's moderation refuses a prompt.
MODERATED = ("moderation_blocked", "sentinel_block", "content_policy_violation")


def offer_of(video: Video, seconds: int, size: str) -> Offer:
    """What a clip of this length and size is at the moment: a person approves exactly that, and it is ordered so."""
    return Offer(model=video.model, seconds=seconds, size=size, usd_per_clip=str(video.price(seconds, size)))


async def plan_clips(state: State, *, ports: Ports) -> State:
    """Writes down every clip to be made, and reserves what they cost together, before any is ordered.

    Where clips cannot be had any more as they were shown, nothing is: they go back to the gate as they are now.
    """
    run, project = state["run"], project_of(state, ports)
    ideas, shots = ideas_of(state), dict(state.get("shots", {}))
    going, again = state["going"], state.get("failed_shots", [])
    remake = going["clips"]
    approved = state["decisions"]["publish" if remake else "ideation"]
    notes = {note["clip"]: note["comment"] for note in approved["clips"]}
    shown: Offer = state["ideas"]
    offer = offer_of(ports.video, shown.get("seconds", project.clip_seconds), shown.get("size", project.clip_size))
    if (shown.get("model", offer["model"]), shown["usd_per_clip"]) != (offer["model"], offer["usd_per_clip"]):
        return {
            "ideas": {**state["ideas"], **offer, "make": again or remake or state["ideas"]["make"]},
            "going": {**going, "clips": [], "comment": going["comment"] or " ".join(notes.values()), "offer": True},
            "failed_shots": [],
        }
    # Of what would be made, not of what the decision says it was about: the ledger holds one against the other.
    digest = approved["approved_digest"] if remake else digest_of(shown_at("ideation", state))
    numbers = again or remake or state["ideas"]["make"]
    # New words stand for a shot until it is asked to be something else.
    prompts = {n: words for n, words in state.get("prompts", {}).items() if again or int(n) not in numbers}
    for number in numbers:
        last = shots.get(str(number))
        take = last["take"] + 1 if last else 1
        kept = last if again and last else None  # a second take stands under the approval of the first
        note = notes.get(number) or (going["comment"] if going["step"] == "clips" else "")
        words = prompts.get(str(number)) or (kept["words"] if kept else shot_words(project, ideas[number - 1], note))
        shots[str(number)] = Shot(
            number=number,
            take=take,
            key=f"{run['id']}:clip:{number}:{take}",
            words=words,
            prompt=with_slate(words, _slate(run["id"], number, take)),
            seconds=offer["seconds"],
            size=offer["size"],
            model=offer["model"],
            usd=offer["usd_per_clip"],
            decision=kept["decision"] if kept else approved["number"],
            digest=kept["digest"] if kept else digest or "",
            remake=kept["remake"] if kept else bool(remake),
        )
    await ports.ledger.reserve([_order(shots[str(number)]) for number in numbers])
    return {
        "going": {**going, "offer": False},
        "shots": shots,
        "ordered": numbers,
        "failed_shots": [],
        "prompts": prompts,
        "retries": await ports.inbox.retries(run["id"]),
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
    if failed and await asked_again(state, ports):
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
