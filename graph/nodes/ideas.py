"""From a brief, or a reviewer's comment, to ideas: the supervisor and the ideator."""

import re
from collections.abc import Sequence

from langchain_core.runnables import RunnableConfig

from agents.ideator import ideate
from agents.supervisor import route_comment, screen_brief
from graph.decisions import GateDecision
from graph.dependencies import Dependencies
from graph.nodes.clips import clip_offer
from graph.nodes.orders import decision_at, end_run, project_of_run
from graph.review_content import ideas_of, next_revision, used_ideas
from graph.state import ChangeTarget, Clip, Route, RunState
from providers.orders import OrderKey

#: The node that works on each target. Clips that the reviewer did not name go to the ideation gate instead.
NODE_OF_TARGET: dict[ChangeTarget, Route] = {
    "ideas": "ideator",
    "clips": "plan_clips",
    "caption": "write_caption",
    "render": "order_render",
    "review": "publish_gate",
}


async def supervisor(state: RunState, config: RunnableConfig, *, deps: Dependencies) -> RunState:
    """Load and screen a new run; after requested changes, select the part of the work they concern."""
    if "gate" not in state:
        return await _start(state, config["configurable"]["thread_id"], deps)
    decision = decision_at(state["gate"], state)
    if state["gate"] == "ideation":
        return _change("ideas", decision.comment)
    return await _explicit_change(state, decision, deps) or await _interpreted_change(state, decision, deps)


def clip_numbers_in(comment: str) -> set[int]:
    """Return the clips that a comment names: numbers after "clip" or "clips", or a comment of numbers alone."""
    numbers = r"#?\d{1,2}(?:(?:\s*[,&+]\s*|\s+(?:and|or)\s+|\s*,\s*and\s+)#?\d{1,2})*\b"
    behind = re.findall(rf"\bclips?\s+(?:number\s+|no\.?\s*)?({numbers})", comment, re.IGNORECASE)
    alone = re.fullmatch(rf"\s*({numbers})[\s.!]*", comment)
    named = [*behind, alone[1]] if alone else behind
    return {int(number) for part in named for number in re.findall(r"\d+", part)}


def _change(target: ChangeTarget, comment: str = "", clips: Sequence[int] = ()) -> RunState:
    route: Route = "ideation_gate" if target == "clips" and not clips else NODE_OF_TARGET[target]
    return {"route": route, "change": {"target": target, "clips": list(clips), "comment": comment}}


async def _explicit_change(state: RunState, decision: GateDecision, deps: Dependencies) -> RunState | None:
    """Return the update for a decision that names clips, takes or edits, which no model has to interpret."""
    clips = {**state["clips"], **await _chosen_takes(state, decision.takes, deps)}
    if decision.clips:
        return {"clips": clips, **_change("clips", decision.comment, [note.clip for note in decision.clips])}
    if decision.takes or "clips" in decision.edited:
        return {"clips": clips, **_change("render", decision.comment)}
    return _change("review", decision.comment) if decision.edited else None


async def _interpreted_change(state: RunState, decision: GateDecision, deps: Dependencies) -> RunState:
    """Return the update that the model reads from the comment on a film."""
    key = OrderKey(state["run_id"], "route", decision.revision)
    answer = await deps.ledger.cached_answer(key, lambda: route_comment(deps.model, ideas_of(state), decision.comment))
    clips = [number for number, _ in used_ideas(state) if number in answer["clips"]]
    if answer["step"] != "clips" or not clips:
        return _change("ideas" if answer["step"] == "clips" else answer["step"], decision.comment)
    # A model's reading of a comment buys nothing. Clips that the reviewer named by number are ordered at once;
    # any other is first presented at the ideation gate with its price.
    if set(clips) <= clip_numbers_in(decision.comment):
        return _change("clips", decision.comment, clips)
    return {**_change("clips", decision.comment), "ideas": {**state["ideas"], "make": clips}}


async def _chosen_takes(state: RunState, takes: dict[int, int], deps: Dependencies) -> dict[str, Clip]:
    """Return the clips in the takes that the reviewer chose."""
    keys = {number: state["made"][str(number)][str(take)] for number, take in takes.items()}
    statuses = await deps.ledger.statuses(list(keys.values()))
    return {str(n): Clip(take=takes[n], digest=statuses[key].result["digest"]) for n, key in keys.items()}


async def _start(state: RunState, run_id: str, deps: Dependencies) -> RunState:
    """Load the run and screen its brief. A fork starts with the ideas of its source, at the ideation gate."""
    loaded = await deps.records.load(run_id, state["project"], state["brief"])
    if "ideas" in loaded:
        return {**loaded, **_change("clips")}
    verdict = await deps.moderation.check([state["brief"]])
    if verdict.flagged:
        categories = ", ".join(verdict.categories)
        return {**loaded, **end_run("brief_refused", f"Moderation refused the brief: {categories}.")}
    project = deps.project(state["project"], loaded["options"])
    key = OrderKey(run_id, "screening")
    answer = await deps.ledger.cached_answer(key, lambda: screen_brief(deps.model, project, state["brief"]))
    if not answer["fits"]:
        reason = answer["reason"] or f"The brief does not fit the project {project.name}."
        return {**loaded, **end_run("brief_unfit", reason)}
    return {**loaded, **_change("ideas")}


async def ideator(state: RunState, *, deps: Dependencies) -> RunState:
    """Write the ideas, or other ones after a comment, with the current offer for each clip."""
    run_id, project, revision = state["run_id"], project_of_run(state, deps), next_revision("ideation", state)
    history = await deps.feedback.review_history(run_id, "ideation") if revision > 1 else []
    comment = state["change"]["comment"]
    answer = await deps.ledger.cached_answer(
        OrderKey(run_id, "ideas", revision),
        lambda: ideate(deps.model, project, state["brief"], history=history, comment=comment),
    )
    verdict = await deps.moderation.check([f"{idea['scene']} {idea['overlay']}" for idea in answer["ideas"]])
    if verdict.flagged:
        return end_run("ideas_refused", f"Moderation refused the ideas: {', '.join(verdict.categories)}.")
    return {
        "route": "ideation_gate",
        # Clips and prompts of other ideas are no takes of these.
        "clips": {},
        "made": {},
        "dropped": [],
        "prompts": {},
        "reoffered_prompts": {},
        "ideas": {
            "title": answer["title"],
            "ideas": answer["ideas"],
            "make": list(range(1, project.clips + 1)),
            "notice": None,
            **clip_offer(deps.video, project.clip_seconds, project.clip_size),
        },
    }
