"""From clips to a film and its caption."""

from __future__ import annotations

from agents import caption_writer
from graph.dependencies import Dependencies
from graph.nodes.orders import await_orders, ideas_of, is_retry_requested, order_failure, project_of_run
from graph.review_content import used_ideas
from graph.state import RunState
from providers.orders import Order, OrderKey
from providers.renders.manifest import Manifest, ManifestClip


async def order_render(state: RunState, *, deps: Dependencies) -> RunState:
    """Order the film from its clips."""
    project, ideas, last = project_of_run(state, deps), state["ideas"], state.get("render")
    manifest = Manifest(
        crossfade_seconds=project.crossfade_seconds,
        composition=project.composition,
        title=ideas["title"],
        props=project.look,
        clips=[
            ManifestClip(digest=state["clips"][str(number)]["digest"], seconds=ideas["seconds"], overlay=idea.overlay)
            for number, idea in used_ideas(state)
        ],
    ).model_dump()
    key = OrderKey(state["run"]["id"], "render", attempt=last["attempt"] + 1 if last else 1)
    await deps.ledger.place_once(Order(key, "render", manifest))
    return {"render": {"key": str(key), "attempt": key.attempt, "manifest": manifest}}


async def await_render(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait until the film is rendered or the render has failed."""
    key = state["render"]["key"]
    status = (await await_orders([key], "render", deps))[key]
    if status.state == "settled":
        return {"route": "write_caption", "film": status.result}
    if not await is_retry_requested(state, [status], deps):
        raise order_failure("The film", status)
    return {"route": "order_render"}


async def write_caption(state: RunState, *, deps: Dependencies) -> RunState:
    """Write what is posted with the film, unless there is a caption and no request to change it."""
    previous, change = state.get("caption"), state["change"]
    if previous and change["target"] in ("clips", "render", "review"):
        return {}
    is_change = previous is not None and change["target"] == "caption"
    answer = await deps.ledger.cached_answer(
        OrderKey(state["run"]["id"], "caption", state.get("revisions", {}).get("publish", 0) + 1),
        lambda: caption_writer.write_caption(
            deps.model,
            state["brief"],
            state["ideas"]["title"],
            ideas_of(state),
            previous=previous["caption"] if previous and is_change else "",
            comment=change["comment"] if is_change else "",
        ),
    )
    platforms = project_of_run(state, deps).platforms
    return {"caption": {"caption": answer["caption"], "hashtags": answer["hashtags"], "platforms": platforms}}
