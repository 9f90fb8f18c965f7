"""From clips to a film and its caption."""

from collections.abc import Sequence

from agents import roles
from graph.dependencies import Dependencies
from graph.nodes.changes import mark_done
from graph.nodes.narration import narrations_of
from graph.nodes.orders import await_orders, order_failure, project_of_run, requested_retry, with_disclosure
from graph.review_content import ideas_of, next_revision, used_ideas
from graph.state import RunState
from prompts.film_limits import MIN_FILM_SECONDS
from prompts.project import Project
from providers.base import short_name
from providers.orders import Order, OrderKey, OrderStatus
from providers.publications.post import fit_post
from providers.renders.manifest import ClipSource, Manifest, ManifestClip, Music


async def order_render(state: RunState, *, deps: Dependencies) -> RunState:
    """Order the film from its clips."""
    project, ideas, last = project_of_run(state, deps), state["ideas"], state.get("render_key")
    orders = await _orders_of_clips(state, deps)
    facts = [orders[number].result if number in orders else {} for number, _ in used_ideas(state)]
    delivered = [min(ideas["seconds"], clip.get("seconds", ideas["seconds"])) for clip in facts]
    lengths, crossfade = _fit_lengths(delivered, project)
    narrations = await narrations_of(state, deps)
    width, height = map(int, project.film_size.split("x"))
    manifest = Manifest(
        width=width,
        height=height,
        crossfade_seconds=crossfade,
        composition=project.composition,
        title=ideas["title"],
        props=project.look_texts,
        look=project.film_look,
        music=Music.model_validate(state["music"]) if state.get("music") else None,
        clips=[
            ManifestClip(
                digest=state["clips"][str(number)]["digest"],
                seconds=seconds,
                overlay=idea.overlay,
                source=_source_of(orders.get(number)),
                narration=narrations.get(number),
            )
            for (number, idea), seconds in zip(used_ideas(state), lengths, strict=True)
        ],
    )
    key = OrderKey(state["run_id"], "render", attempt=OrderKey.parse(last).attempt + 1 if last else 1)
    await deps.ledger.place_once(Order(key, "render", manifest.model_dump()))
    return {"render_key": str(key), **mark_done(state, "overlay")}


async def _orders_of_clips(state: RunState, deps: Dependencies) -> dict[int, OrderStatus]:
    """Return the recorded order of each clip of the film, by the number of the clip."""
    keys = {n: state["made"][str(n)][str(state["clips"][str(n)]["take"])] for n, _ in used_ideas(state)}
    statuses = await deps.ledger.statuses(list(keys.values()))
    return {number: statuses[key] for number, key in keys.items() if key in statuses}


def _source_of(order: OrderStatus | None) -> ClipSource:
    """Return the origin of a clip, as its order names it."""
    if order is None:
        return ClipSource()
    return ClipSource(
        provider=short_name(order.provider),
        model=order.request.get("model", ""),
        start_image=order.request.get("image", ""),
        delivered_sha256=order.result.get("original_digest", ""),
    )


def _fit_lengths(lengths: Sequence[float], project: Project) -> tuple[list[float], float]:
    """Return the lengths of the clips and of the crossfades, in seconds, for clips of which some are too short."""
    crossfade = min(project.crossfade_seconds, round(min(lengths) * 30) // 2 / 30)
    missing = MIN_FILM_SECONDS - sum(lengths) + crossfade * (len(lengths) - 1)
    # The last picture is held until the film has the minimum length.
    return [*lengths[:-1], lengths[-1] + max(0, round(missing, 3))], crossfade


async def await_render(state: RunState, *, deps: Dependencies) -> RunState:
    """Wait until the film is rendered; render it again if that was requested after a failure, else raise StepFailed."""
    [render] = (await await_orders([state["render_key"]], "render", deps)).values()
    if render.state == "settled":
        clips = (await _orders_of_clips(state, deps)).items()
        notices = [f"Clip {n}: {warning}" for n, order in clips for warning in order.result.get("warnings", [])]
        was_unsigned = "film" in state and "c2pa" not in state["film"]
        mark = {"c2pa": None} if was_unsigned else {}  # stays if the renderer signs no film: it is not rendered again
        film = {**mark, **render.result, "notices": [*notices, *render.result.get("notices", [])]}
        return {"route": "write_caption", "film": film}
    if not await requested_retry(state, [render], deps):
        raise order_failure("The film", render)
    return {"route": "order_render"}


async def write_caption(state: RunState, *, deps: Dependencies) -> RunState:
    """Write what is posted with the film, unless there is a caption and no request to change it."""
    change = state["change"]
    comment = change.get("caption") or (change["comment"] if change["target"] == "caption" else "")
    if "caption" in state and change["target"] != "ideas" and not comment:
        return {"caption": with_disclosure(state["caption"], state, deps)}
    previous = state.get("caption", {}).get("caption", "") if comment else ""
    answer = await deps.ledger.cached_answer(
        OrderKey(state["run_id"], "caption", next_revision("publish", state)),
        lambda: roles.write_caption(
            deps.model, state["brief"], state["ideas"]["title"], ideas_of(state), previous=previous, comment=comment
        ),
    )
    project = project_of_run(state, deps)
    # Once something was posted, only the platforms that are left are named again.
    platforms = state["caption"]["platforms"] if "publication_key" in state else project.platforms
    post = fit_post(state["ideas"]["title"], answer["caption"], answer["hashtags"], platforms)
    caption = {
        **vars(post),
        "platforms": platforms,
        "destinations": {name: place for name, place in project.destinations.items() if name in platforms},
        "publisher": deps.publisher_of(state["project"]),
    }
    return {"caption": with_disclosure(caption, state, deps), **mark_done(state, "caption")}
