"""From clips to a film, and the words that go with it."""

from __future__ import annotations

from agents.caption_writer import write_caption as ask_caption
from graph.dependencies import Dependencies
from graph.nodes.orders import approved_offer, await_orders, ideas_of, order_failure, project_of_run, retry_requested
from graph.review_content import used_ideas
from graph.state import RunState
from providers.orders import Order
from providers.renders.manifest import Manifest, ManifestClip


async def order_render(state: RunState, *, deps: Dependencies) -> RunState:
    """Orders the film from its clips."""
    run, project = state["run"], project_of_run(state, deps)
    seconds = approved_offer(state, deps)["seconds"]
    manifest = Manifest(
        crossfade_seconds=project.crossfade_seconds,
        composition=project.composition,
        title=state["ideas"]["title"],
        props=project.look,
        clips=[
            ManifestClip(
                digest=state["clips"][str(number)]["digest"],
                seconds=seconds,
                overlay=idea["overlay"],
            )
            for number, idea in used_ideas(state)
        ],
    ).model_dump()
    attempt = state["render"]["attempt"] + 1 if "render" in state else 1
    key = f"{run['id']}:render:1:{attempt}"
    await deps.ledger.place_once(Order(key=key, run_id=run["id"], kind="render", request=manifest))
    return {"render": {"key": key, "attempt": attempt, "manifest": manifest, "failed": False}}


async def await_render(state: RunState, *, deps: Dependencies) -> RunState:
    """Waits until the film is rendered."""
    key = state["render"]["key"]
    standing = (await await_orders([key], "render", deps))[key]
    if standing.state == "settled":
        return {"film": standing.result}
    if not await retry_requested(state, [standing], deps):
        raise order_failure("The film", standing)
    return {"render": {**state["render"], "failed": True}}


async def write_caption(state: RunState, *, deps: Dependencies) -> RunState:
    """Writes what is posted with the film, unless there is a caption that nobody asked to change."""
    run, project = state["run"], project_of_run(state, deps)
    previous, going = state.get("caption"), state["going"]
    if previous and going["step"] in ("clips", "render", "review"):
        return {}
    revision = state.get("revisions", {}).get("publish", 0) + 1
    said = (
        {"previous": previous["caption"], "comment": going["comment"]}
        if going["step"] == "caption" and previous
        else {}
    )
    answer = await deps.ledger.cached_answer(
        f"{run['id']}:caption:{revision}",
        run["id"],
        lambda: ask_caption(deps.model, run["brief"], state["ideas"]["title"], ideas_of(state), **said),
    )
    return {"caption": {**answer, "platforms": project.platforms}}
