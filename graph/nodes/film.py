"""From clips to a film and its caption."""

from agents import caption_writer
from graph.dependencies import Dependencies
from graph.nodes.changes import mark_done
from graph.nodes.orders import await_orders, order_failure, project_of_run, requested_retry
from graph.review_content import ideas_of, next_revision, used_ideas
from graph.state import RunState
from providers.orders import Order, OrderKey
from providers.publications.post import fit_post
from providers.renders.manifest import Manifest, ManifestClip


async def order_render(state: RunState, *, deps: Dependencies) -> RunState:
    """Order the film from its clips."""
    project, ideas, last = project_of_run(state, deps), state["ideas"], state.get("render_key")
    manifest = Manifest(
        crossfade_seconds=project.crossfade_seconds,
        composition=project.composition,
        title=ideas["title"],
        props=project.look,
        clips=[
            ManifestClip(digest=state["clips"][str(number)]["digest"], seconds=ideas["seconds"], overlay=idea.overlay)
            for number, idea in used_ideas(state)
        ],
    )
    key = OrderKey(state["run_id"], "render", attempt=OrderKey.parse(last).attempt + 1 if last else 1)
    await deps.ledger.place_once(Order(key, "render", manifest.model_dump()))
    return {"render_key": str(key), **mark_done(state, "overlay")}


async def await_render(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait until the film is rendered; render it again if that was requested after a failure, else raise StepFailed."""
    [render] = (await await_orders([state["render_key"]], "render", deps)).values()
    if render.state == "settled":
        return {"route": "write_caption", "film": render.result}
    if not await requested_retry(state, [render], deps):
        raise order_failure("The film", render)
    return {"route": "order_render"}


async def write_caption(state: RunState, *, deps: Dependencies) -> RunState:
    """Write what is posted with the film, unless there is a caption and no request to change it."""
    change = state["change"]
    comment = change.get("caption") or (change["comment"] if change["target"] == "caption" else "")
    if "caption" in state and change["target"] != "ideas" and not comment:
        return {}
    previous = state["caption"]["caption"] if comment and "caption" in state else ""
    answer = await deps.ledger.cached_answer(
        OrderKey(state["run_id"], "caption", next_revision("publish", state)),
        lambda: caption_writer.write_caption(
            deps.model, state["brief"], state["ideas"]["title"], ideas_of(state), previous=previous, comment=comment
        ),
    )
    project = project_of_run(state, deps)
    # Once something was posted, only the platforms that are left are named again.
    platforms = state["caption"]["platforms"] if "publication_key" in state else project.platforms
    post = fit_post(state["ideas"]["title"], answer["caption"], answer["hashtags"], platforms)
    return {
        "caption": {
            "caption": post.caption,
            "hashtags": post.hashtags,
            "notices": post.notices,
            "platforms": platforms,
            "destinations": {name: place for name, place in project.destinations.items() if name in platforms},
            "publisher": deps.publisher,
        },
        **mark_done(state, "caption"),
    }
