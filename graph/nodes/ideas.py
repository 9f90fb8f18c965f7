"""From a brief, or a reviewer's comment, to ideas: the supervisor and the ideator."""

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig

from agents.roles import ideate, moderate, screen_brief
from graph.dependencies import Dependencies
from graph.nodes.changes import change_update, mark_done, requested_work
from graph.nodes.clips import clip_offer
from graph.nodes.narration import speech_offer, with_speech
from graph.nodes.orders import decision_at, end_run, project_of_run
from graph.review_content import next_revision
from graph.rules import approved_rules
from graph.state import Clip, IdeasState, RunState
from providers.moderation import ModerationResult
from providers.orders import OrderKey


async def supervisor(state: RunState, config: RunnableConfig, *, deps: Dependencies) -> RunState:
    """Load and screen a new run; after requested changes, select the part of the work they concern."""
    if "gate" in state:
        update = await requested_work(state, decision_at(state["gate"], state), deps)
    else:
        update = await _start(state, config["configurable"]["thread_id"], deps)
    # Read before the step that uses them: it finds the same ones in the checkpoint when it runs again.
    return {**update, "rules": await approved_rules(state["project"])} if update["route"] == "ideator" else update


async def _start(state: RunState, run_id: str, deps: Dependencies) -> RunState:
    """Load the run and screen its brief. A fork starts with the ideas of its source, at the ideation gate."""
    loaded = await deps.records.load(run_id, state["project"], state["brief"])
    if "ideas" in loaded:
        return {**loaded, **change_update("clips")}
    if categories := await _flagged_categories(deps, OrderKey(run_id, "moderation", 0), [state["brief"]]):
        return {**loaded, **end_run("brief_refused", f"Moderation refused the brief: {categories}.")}
    project = deps.project(state["project"], loaded["options"])
    key = OrderKey(run_id, "screening")
    answer = await deps.ledger.cached_answer(key, lambda: screen_brief(deps.model, project, state["brief"]))
    if not answer["fits"]:
        reason = answer["reason"] or f"The brief does not fit the project {project.name}."
        return {**loaded, **end_run("brief_unfit", reason)}
    return {**loaded, **change_update("ideas")}


async def ideator(state: RunState, *, deps: Dependencies) -> RunState:
    """Write the ideas, or other ones after a comment, with the current offer for each clip."""
    run_id, project, revision = state["run_id"], project_of_run(state, deps), next_revision("ideation", state)
    history = await deps.records.review_history(run_id, "ideation") if revision > 1 else []
    comment, rules = state["change"]["comment"], state.get("rules", [])
    answer = await deps.ledger.cached_answer(
        OrderKey(run_id, "ideas", revision),
        lambda: ideate(deps.model, project, state["brief"], rules=rules, history=history, comment=comment),
    )
    texts = [" ".join([f"{i['scene']} {i['overlay']}", *filter(None, [i.get("narration")])]) for i in answer["ideas"]]
    if categories := await _flagged_categories(deps, OrderKey(run_id, "moderation", revision), texts):
        return end_run("ideas_refused", f"Moderation refused the ideas: {categories}.")
    ideas = _with_images(state, answer["ideas"])
    kept = _kept_sample(state, ideas)
    offered: IdeasState = {
        "title": answer["title"],
        "ideas": ideas,
        "make": [number for number in range(1, project.clips + 1) if str(number) not in kept["clips"]],
        "notice": None,
        "follows": rules,
        "moderation": "none" if deps.moderation == "none" else None,
        **await clip_offer(deps.video, project.clip_seconds, project.clip_size, project.video),
    }
    return {
        **mark_done(state, "ideas"),
        "route": "ideation_gate",
        # Clips and prompts of other ideas are no takes of these.
        **kept,
        "dropped": [],
        "prompts": {},
        "reoffered_prompts": {},
        "ideas": with_speech(offered, speech_offer(project, deps.speech)),
    }


async def _flagged_categories(deps: Dependencies, key: OrderKey, texts: list[str]) -> str:
    """Return the categories for which the texts must not be used; empty if they may, or if nothing is moderated.

    Raises Unavailable, and as `cached_answer`, if there is no judgement: then no text is allowed.
    """
    if deps.moderation == "none":
        return ""
    if deps.moderation == "model":
        verdict = ModerationResult(**await deps.ledger.cached_answer(key, lambda: moderate(deps.model, texts)))
    else:
        verdict = await deps.moderation.check(texts)
    return ", ".join(verdict.categories) or ("no category given" if verdict.flagged else "")


def _with_images(state: RunState, ideas: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the new ideas: one that stays the same with the image that it had, another first one with the run's."""
    before = state["ideas"]["ideas"] if "ideas" in state else []
    images = {_texts_of(idea): {"image": state["image"]} for idea in ideas[:1] if state.get("image")}
    images |= {_texts_of(idea): {"image": idea["image"]} if idea.get("image") else {} for idea in before}
    return [{**idea, **images.get(_texts_of(idea), {})} for idea in ideas]


def _kept_sample(state: RunState, ideas: Sequence[dict[str, Any]]) -> RunState:
    """Return the clips of a sample whose ideas are among the new ones, under their new numbers as take 0."""
    clips, made = dict[str, Clip](), dict[str, dict[str, str]]()
    # Once there is a film, other ideas are a wish for other clips.
    if "film" in state:
        return {"clips": clips, "made": made}
    for number, clip in state.get("clips", {}).items():
        idea = _without_overlay(state["ideas"]["ideas"][int(number) - 1])
        for position, new in enumerate(ideas, start=1):
            if _without_overlay(new) == idea and str(position) not in clips:
                clips[str(position)] = Clip(take=0, digest=clip["digest"])
                made[str(position)] = {"0": state["made"][number][str(clip["take"])]}
                break
    return {"clips": clips, "made": made}


def _texts_of(idea: dict[str, Any]) -> tuple[str, ...]:
    return idea["title"], idea["scene"], idea["sound"]


def _without_overlay(idea: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in idea.items() if name != "overlay"}
