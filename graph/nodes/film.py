"""From clips to a film, and the words that go with it."""

from __future__ import annotations

from agents.caption_writer import write_caption as ask_caption
from graph.nodes.waiting import all_over, asked_again, ideas_of, not_made, offer_shown, project_of
from graph.ports import Ports
from graph.reviews import used
from graph.state import State
from providers.orders import Order
from providers.renders.manifest import Manifest, ManifestClip


async def order_render(state: State, *, ports: Ports) -> State:
    """Orders the film from its clips."""
    run, project = state["run"], project_of(state, ports)
    seconds = offer_shown(state, ports)["seconds"]
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
            for number, idea in used(state)
        ],
    ).model_dump()
    attempt = state["render"]["attempt"] + 1 if "render" in state else 1
    key = f"{run['id']}:render:1:{attempt}"
    await ports.ledger.once(Order(key=key, run_id=run["id"], kind="render", request=manifest))
    return {"render": {"key": key, "attempt": attempt, "manifest": manifest, "failed": False}}


async def await_render(state: State, *, ports: Ports) -> State:
    """Waits until the film is rendered."""
    key = state["render"]["key"]
    standing = (await all_over([key], "render", ports))[key]
    if standing.state == "settled":
        return {"film": standing.result}
    if not await asked_again(state, [standing], ports):
        raise not_made("The film", standing)
    return {"render": {**state["render"], "failed": True}}


async def write_caption(state: State, *, ports: Ports) -> State:
    """Writes what is posted with the film, unless there is a caption that nobody asked to change."""
    run, project = state["run"], project_of(state, ports)
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
        lambda: ask_caption(ports.model, run["brief"], state["ideas"]["title"], ideas_of(state), **said),
    )
    return {"caption": {**answer, "platforms": project.platforms}}
