"""The steps. One that spends makes one call, through the ledger; one that waits only reads, and interrupts."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial

from langgraph.types import interrupt

from agents.caption_writer import write_caption as ask_caption
from agents.ideator import Idea, ideate
from agents.shot_writer import rewrite_shot, shot_words, with_slate
from agents.supervisor import route, screen
from graph.ports import Ports
from graph.reviews import used
from graph.state import Clip, Going, Shot, State
from prompts.project import Project
from providers.orders import Approval, Order, Standing, digest_of
from providers.renders.manifest import Manifest, ManifestClip

#: Why the ledger does not place an order. Trying again by itself would only be refused again.
REFUSED_HERE = ("budget_exceeded", "not_approved", "cancelled")
#: How a provider's moderation refuses a prompt.
MODERATED = ("moderation_blocked", "sentinel_block", "content_policy_violation")


class StepFailed(Exception):
    """A step cannot go on by itself. A person may ask to try it again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def supervisor(state: State, *, ports: Ports) -> State:
    """Screens the brief; after changes were requested, sends the work back to the step they concern."""
    if "gate" not in state:
        return await _screen(state, ports)
    run, asked = state["run"], state["decisions"][state["gate"]]
    going: Going = {"step": "ideas", "clips": [], "comment": asked["comment"]}
    if state["gate"] == "ideation":
        return {"going": going}
    if wanted := await _wanted(state, ports):
        return {**wanted, "going": {**going, **wanted["going"]}}
    answer = await ports.ledger.answer(
        f"{run['id']}:route:{asked['revision']}",
        run["id"],
        lambda: route(ports.model, _ideas(state), asked["comment"]),
    )
    numbers = [number for number, _ in used(state)]
    clips = [number for number in answer["clips"] if number in numbers]
    if answer["step"] != "clips" or not clips:
        going["step"] = "ideas" if answer["step"] == "clips" else answer["step"]
        return {"going": going}
    # A model's reading of a comment buys nothing. Clips the person named with their numbers are made at once;
    # any other goes back to the ideation gate, where it is shown with its price.
    named = {int(number) for number in re.findall(r"\b\d{1,2}\b", asked["comment"])}
    if set(clips) <= named:
        return {"going": {**going, "step": "clips", "clips": clips}}
    return {"going": {**going, "step": "clips"}, "ideas": {**state["ideas"], "make": clips}}


async def _wanted(state: State, ports: Ports) -> State | None:
    """What a reviewer said plainly, which no model needs to read: clips, takes, words."""
    asked, change = state["decisions"]["publish"], State()
    if asked["takes"]:
        change["clips"] = await _chosen(state, asked["takes"], ports)
    step: Going | None = None
    if asked["clips"]:
        step = {"step": "clips", "clips": [note["clip"] for note in asked["clips"]], "comment": asked["comment"]}
    elif asked["takes"] or "clips" in asked["edited"]:
        step = {"step": "render", "clips": [], "comment": asked["comment"]}
    elif asked["edited"]:
        step = {"step": "review", "clips": [], "comment": asked["comment"]}
    return {**change, "going": step} if step else None


async def _chosen(state: State, takes: dict[str, int], ports: Ports) -> dict[str, Clip]:
    """The clips with the takes that the reviewer chose."""
    keys = {number: state["made"][number][str(take)] for number, take in takes.items()}
    standing = await ports.ledger.standing(list(keys.values()))
    return {**state["clips"], **{n: _clip(standing[key], takes[n]) for n, key in keys.items()}}


async def _screen(state: State, ports: Ports) -> State:
    if "ideas" in state:  # a fork begins with the ideas of another run, at the gate that shows them
        return {"going": {"step": "clips", "clips": [], "comment": ""}}
    run, project = state["run"], _project(state, ports)
    verdict = await ports.moderation.check([run["brief"]])
    if verdict.flagged:
        return _ended("brief_refused", f"The brief was refused by moderation: {', '.join(verdict.categories)}.")
    answer = await ports.ledger.answer(
        f"{run['id']}:screening", run["id"], lambda: screen(ports.model, project, run["brief"])
    )
    if not answer["fits"]:
        return _ended("brief_unfit", answer["reason"] or f"The brief does not fit the project {project.name}.")
    return {"going": {"step": "ideas", "clips": [], "comment": ""}}


async def ideator(state: State, *, ports: Ports) -> State:
    """Makes the ideas, or other ones after a comment, and says what making them costs."""
    run, project = state["run"], _project(state, ports)
    revision = state.get("revisions", {}).get("ideation", 0) + 1
    history = await ports.inbox.history(run["id"], "ideation") if revision > 1 else []
    comment = state["going"]["comment"]
    answer = await ports.ledger.answer(
        f"{run['id']}:ideas:{revision}",
        run["id"],
        lambda: ideate(ports.model, project, run["brief"], history=history, comment=comment),
    )
    verdict = await ports.moderation.check([f"{idea['scene']} {idea['overlay']}" for idea in answer["ideas"]])
    if verdict.flagged:
        return _ended("ideas_refused", f"The ideas were refused by moderation: {', '.join(verdict.categories)}.")
    return {
        # Other ideas, other clips: what was made for the last ones is not a take of these.
        "clips": {},
        "made": {},
        "dropped": [],
        "prompts": {},
        "ideas": {
            "title": answer["title"],
            "ideas": answer["ideas"],
            "make": list(range(1, project.clips + 1)),
            "usd_per_clip": str(ports.video.price(project.clip_seconds, project.clip_size)),
        }
    }


async def plan_clips(state: State, *, ports: Ports) -> State:
    """Writes down every clip to be made, and reserves what they cost together, before any is ordered."""
    run, project = state["run"], _project(state, ports)
    ideas, shots = _ideas(state), dict(state.get("shots", {}))
    again, remake = state.get("failed_shots", []), state["going"]["clips"]
    approved = state["decisions"]["publish" if remake else "ideation"]
    notes = {note["clip"]: note["comment"] for note in approved["clips"]}
    numbers = again or remake or state["ideas"]["make"]
    # New words stand for a shot until it is asked to be something else.
    prompts = {n: words for n, words in state.get("prompts", {}).items() if again or int(n) not in numbers}
    for number in numbers:
        last = shots.get(str(number))
        take = last["take"] + 1 if last else 1
        kept = last if again and last else None  # a second take stands under the approval of the first
        note = notes.get(number) or (state["going"]["comment"] if remake else "")
        words = prompts.get(str(number)) or (kept["words"] if kept else shot_words(project, ideas[number - 1], note))
        shots[str(number)] = Shot(
            number=number,
            take=take,
            key=f"{run['id']}:clip:{number}:{take}",
            words=words,
            prompt=with_slate(words, _slate(run["id"], number, take)),
            seconds=project.clip_seconds,
            size=project.clip_size,
            model=ports.video.model,
            usd=state["ideas"]["usd_per_clip"],
            decision=kept["decision"] if kept else approved["number"],
            digest=kept["digest"] if kept else approved["approved_digest"] or "",
            remake=kept["remake"] if kept else bool(remake),
        )
    await ports.ledger.reserve([_order(shots[str(number)]) for number in numbers])
    return {
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
    not; and as a person wants who asked to try again. One bad clip never costs the others.
    """
    shots = {number: state["shots"][str(number)] for number in state["ordered"]}
    standing = await _all_over([shot["key"] for shot in shots.values()], "clips", ports)
    clips, made = dict(state.get("clips", {})), dict(state.get("made", {}))
    failed = []
    for number, shot in shots.items():
        of_clip = standing[shot["key"]]
        if of_clip.state == "settled":
            clips[str(number)] = _clip(of_clip, shot["take"])
            made[str(number)] = {**made.get(str(number), {}), str(shot["take"]): shot["key"]}
        else:
            failed.append(number)
    change: State = {"clips": clips, "made": made, "failed_shots": failed}
    if failed and await _asked_again(state, ports):
        wishes = await ports.inbox.wishes(state["run"]["id"])
        change["dropped"] = sorted({*state.get("dropped", []), *(set(wishes["drop"]) & set(failed))})
        change["failed_shots"] = [number for number in failed if number not in change["dropped"]]
        change["prompts"] = {**state.get("prompts", {}), **wishes["prompts"]}
        return change
    for number in failed:
        of_clip = standing[shots[number]["key"]]
        if not _taken_again(state, of_clip, shots[number], _project(state, ports).takes):
            raise _not_made(f"Clip {number}", of_clip)
    return change


def _taken_again(state: State, of_clip: Standing, shot: Shot, takes: int) -> bool:
    """Whether a failed clip is taken again without asking anybody."""
    code = of_clip.result.get("code")
    if of_clip.state == "unknown" or code in REFUSED_HERE:
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


async def order_render(state: State, *, ports: Ports) -> State:
    """Orders the film from its clips."""
    run, project = state["run"], _project(state, ports)
    manifest = Manifest(
        crossfade_seconds=project.crossfade_seconds,
        composition=project.composition,
        title=state["ideas"]["title"],
        props=project.look,
        clips=[
            ManifestClip(
                digest=state["clips"][str(number)]["digest"],
                seconds=project.clip_seconds,
                overlay=idea["overlay"],
            )
            for number, idea in used(state)
        ],
    ).model_dump()
    attempt = state["render"]["attempt"] + 1 if "render" in state else 1
    key = f"{run['id']}:render:1:{attempt}"
    await ports.ledger.once(Order(key=key, run_id=run["id"], kind="render", request=manifest))
    return {
        "render": {"key": key, "attempt": attempt, "manifest": manifest, "failed": False},
        "retries": await ports.inbox.retries(run["id"]),
    }


async def await_render(state: State, *, ports: Ports) -> State:
    """Waits until the film is rendered."""
    key = state["render"]["key"]
    standing = (await _all_over([key], "render", ports))[key]
    if standing.state == "settled":
        return {"film": standing.result}
    if not await _asked_again(state, ports):
        raise _not_made("The film", standing)
    return {"render": {**state["render"], "failed": True}}


async def write_caption(state: State, *, ports: Ports) -> State:
    """Writes what is posted with the film, unless there is a caption that nobody asked to change."""
    run, project = state["run"], _project(state, ports)
    previous, going = state.get("caption"), state["going"]
    if previous and going["step"] in ("clips", "render", "review"):
        return {}
    revision = state.get("revisions", {}).get("publish", 0) + 1
    said = (
        {"previous": previous["caption"], "comment": going["comment"]}
        if going["step"] == "caption" and previous
        else {}
    )
    answer = await ports.ledger.answer(
        f"{run['id']}:caption:{revision}",
        run["id"],
        lambda: ask_caption(ports.model, run["brief"], state["ideas"]["title"], _ideas(state), **said),
    )
    return {"caption": {**answer, "platforms": project.platforms}}


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
        approval=Approval(decision["number"], decision["approved_digest"] or ""),
    )
    await ports.ledger.once(order)
    return {
        "publication": {"key": key, "attempt": attempt, "facts": {}, "failed": False},
        "retries": await ports.inbox.retries(run["id"]),
    }


async def await_publication(state: State, *, ports: Ports) -> State:
    """Waits until the publisher says how it went."""
    publication = state["publication"]
    standing = (await _all_over([publication["key"]], "publication", ports))[publication["key"]]
    if standing.state == "settled":
        return {"publication": {**publication, "facts": standing.result}}
    if not await _asked_again(state, ports):
        raise _not_made("The publication", standing)
    return {"publication": {**publication, "failed": True}}


def _clip(standing: Standing, take: int) -> Clip:
    return Clip(shot=standing.key, take=take, digest=standing.result["digest"], seconds=standing.result["seconds"])


async def _all_over(keys: list[str], what: str, ports: Ports) -> dict[str, Standing]:
    """How these orders stand, once nothing more will come of any of them by itself."""
    while True:
        standing = await ports.ledger.standing(keys)
        missing = [key for key in keys if key not in standing or not standing[key].over]
        if not missing:
            return standing
        interrupt({"waiting_for": what, "orders": missing, "hint": "resumed automatically"})


async def _asked_again(state: State, ports: Ports) -> bool:
    """Whether a person asked for another try since this was ordered."""
    return await ports.inbox.retries(state["run"]["id"]) > state["retries"]


def _not_made(what: str, standing: Standing) -> StepFailed:
    if standing.state == "unknown":
        code = "publication_unconfirmed" if standing.kind == "publication" else f"{standing.kind}_outcome_unknown"
        return StepFailed(code, f"{what} may or may not have been made: look at the provider.")
    code = standing.result.get("code", f"{standing.kind}_failed")
    said = str(standing.result.get("message", "the provider gave no reason")).rstrip(".")
    return StepFailed(code, f"{what} could not be made: {said}.")


def _order(shot: Shot) -> Order:
    return Order(
        key=shot["key"],
        run_id=shot["key"].split(":", 1)[0],
        kind="clip",
        request={key: shot[key] for key in ("model", "prompt", "seconds", "size")},
        amount_usd=Decimal(shot["usd"]),
        approval=Approval(shot["decision"], shot["digest"], shot["number"] if shot["remake"] else None),
    )


def _ended(code: str, message: str) -> State:
    return {"failure": {"code": code, "message": message}}


def _project(state: State, ports: Ports) -> Project:
    return ports.project(state["run"]["project"], state["run"]["options"])


def _ideas(state: State) -> list[Idea]:
    return [Idea.model_validate(idea) for idea in state["ideas"]["ideas"]]


def _slate(run_id: str, number: int, take: int) -> str:
    return f"{digest_of(run_id)[:8]}-{number}-{take}"
