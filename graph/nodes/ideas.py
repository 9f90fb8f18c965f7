"""From a brief, or a comment, to ideas: the supervisor and the ideator."""

from __future__ import annotations

import re

from agents.ideator import ideate
from agents.supervisor import route_comment, screen_brief
from graph.dependencies import Dependencies
from graph.nodes.clips import clip_of, clip_offer
from graph.nodes.orders import end_run, ideas_of, project_of_run
from graph.review_content import used_ideas
from graph.state import ChangeRequest, Clip, RunState


async def supervisor(state: RunState, *, deps: Dependencies) -> RunState:
    """Screens the brief; after changes were requested, sends the work back to the step they concern."""
    if "gate" not in state:
        return await _screen(state, deps)
    run, asked = state["run"], state["decisions"][state["gate"]]
    going: ChangeRequest = {"step": "ideas", "clips": [], "comment": asked["comment"]}
    if state["gate"] == "ideation":
        return {"going": going}
    if wanted := await _wanted(state, deps):
        return {**wanted, "going": {**going, **wanted["going"]}}
    answer = await deps.ledger.cached_answer(
        f"{run['id']}:route:{asked['revision']}",
        run["id"],
        lambda: route_comment(deps.model, ideas_of(state), asked["comment"]),
    )
    numbers = [number for number, _ in used_ideas(state)]
    clips = [number for number in answer["clips"] if number in numbers]
    if answer["step"] != "clips" or not clips:
        going["step"] = "ideas" if answer["step"] == "clips" else answer["step"]
        return {"going": going}
    # A model's reading of a comment buys nothing. Clips the person named with their numbers are made at once;
    # any other goes back to the ideation gate, where it is shown with its price.
    if set(clips) <= clip_numbers_in(asked["comment"]):
        return {"going": {**going, "step": "clips", "clips": clips}}
    return {"going": {**going, "step": "clips"}, "ideas": {**state["ideas"], "make": clips}}


def clip_numbers_in(comment: str) -> set[int]:
    """The clips that a comment names: the numbers behind "clip" or "clips", or a comment of nothing but numbers."""
    numbers = r"#?\d{1,2}(?:(?:\s*[,&+]\s*|\s+(?:and|or)\s+|\s*,\s*and\s+)#?\d{1,2})*\b"
    behind = re.findall(rf"\bclips?\s+(?:number\s+|no\.?\s*)?({numbers})", comment, re.IGNORECASE)
    alone = re.fullmatch(rf"\s*({numbers})[\s.!]*", comment)
    named = [*behind, alone[1]] if alone else behind
    return {int(number) for part in named for number in re.findall(r"\d+", part)}


async def _wanted(state: RunState, deps: Dependencies) -> RunState | None:
    """What a reviewer said plainly, which no model needs to read: clips, takes, words."""
    asked, change = state["decisions"]["publish"], RunState()
    if asked["takes"]:
        change["clips"] = await _chosen(state, asked["takes"], deps)
    step: ChangeRequest | None = None
    if asked["clips"]:
        step = {"step": "clips", "clips": [note["clip"] for note in asked["clips"]], "comment": asked["comment"]}
    elif asked["takes"] or "clips" in asked["edited"]:
        step = {"step": "render", "clips": [], "comment": asked["comment"]}
    elif asked["edited"]:
        step = {"step": "review", "clips": [], "comment": asked["comment"]}
    return {**change, "going": step} if step else None


async def _chosen(state: RunState, takes: dict[str, int], deps: Dependencies) -> dict[str, Clip]:
    """The clips with the takes that the reviewer chose."""
    keys = {number: state["made"][number][str(take)] for number, take in takes.items()}
    standing = await deps.ledger.statuses(list(keys.values()))
    return {**state["clips"], **{n: clip_of(standing[key], takes[n]) for n, key in keys.items()}}


async def _screen(state: RunState, deps: Dependencies) -> RunState:
    if "ideas" in state:  # a fork begins with the ideas of another run, at the gate that shows them
        return {"going": {"step": "clips", "clips": [], "comment": ""}}
    run, project = state["run"], project_of_run(state, deps)
    verdict = await deps.moderation.check([run["brief"]])
    if verdict.flagged:
        return end_run("brief_refused", f"The brief was refused by moderation: {', '.join(verdict.categories)}.")
    answer = await deps.ledger.cached_answer(
        f"{run['id']}:screening", run["id"], lambda: screen_brief(deps.model, project, run["brief"])
    )
    if not answer["fits"]:
        return end_run("brief_unfit", answer["reason"] or f"The brief does not fit the project {project.name}.")
    return {"going": {"step": "ideas", "clips": [], "comment": ""}}


async def ideator(state: RunState, *, deps: Dependencies) -> RunState:
    """Makes the ideas, or other ones after a comment, and says what making them costs."""
    run, project = state["run"], project_of_run(state, deps)
    revision = state.get("revisions", {}).get("ideation", 0) + 1
    history = await deps.feedback.review_history(run["id"], "ideation") if revision > 1 else []
    comment = state["going"]["comment"]
    answer = await deps.ledger.cached_answer(
        f"{run['id']}:ideas:{revision}",
        run["id"],
        lambda: ideate(deps.model, project, run["brief"], history=history, comment=comment),
    )
    verdict = await deps.moderation.check([f"{idea['scene']} {idea['overlay']}" for idea in answer["ideas"]])
    if verdict.flagged:
        return end_run("ideas_refused", f"The ideas were refused by moderation: {', '.join(verdict.categories)}.")
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
            **clip_offer(deps.video, project.clip_seconds, project.clip_size),
        },
    }
