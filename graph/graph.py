"""The line, from a brief to a published film. Read this file first."""

from __future__ import annotations

from functools import partial

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graph import gates
from graph.dependencies import Dependencies
from graph.nodes import clips, film, ideas, publication
from graph.state import RunState

#: Node names are written into checkpoints: renaming one is a migration.
NODES = (
    ideas.supervisor,
    ideas.ideator,
    clips.plan_clips,
    clips.order_clip,
    clips.await_clips,
    clips.rewrite_shots,
    film.order_render,
    film.await_render,
    film.write_caption,
    publication.order_publication,
    publication.await_publication,
)


def after_supervisor(state: RunState) -> str:
    """Screened out, or on to the step that the brief or the reviewer's comment concerns."""
    if "failure" in state:
        return END
    match state["going"]:
        case {"step": "clips", "clips": []}:
            return "ideation_gate"
        case {"step": "clips"}:
            return "plan_clips"
        case {"step": "caption"}:
            return "write_caption"
        case {"step": "render"}:
            return "order_render"
        case {"step": "review"}:
            return "publish_gate"
    return "ideator"


def after_ideator(state: RunState) -> str:
    return END if "failure" in state else "ideation_gate"


def after_ideation_gate(state: RunState) -> str:
    return {"approve": "plan_clips", "revise": "supervisor"}.get(state["decisions"]["ideation"]["verdict"], END)


def after_plan_clips(state: RunState) -> list[Send] | str:
    """One order for each clip of this round; a fork may need none. Back to the gate where the offer has changed."""
    if state["going"].get("offer_changed"):
        return "ideation_gate"
    sends = [Send("order_clip", state["shots"][str(number)]) for number in state["ordered"]]
    return sends or "await_clips"


def after_await_clips(state: RunState) -> str:
    return "rewrite_shots" if state["failed_shots"] else "order_render"


def after_await_render(state: RunState) -> str:
    return "order_render" if state["render"]["failed"] else "write_caption"


def after_publish_gate(state: RunState) -> str:
    return {"approve": "order_publication", "revise": "supervisor"}.get(state["decisions"]["publish"]["verdict"], END)


def after_await_publication(state: RunState) -> str:
    return "order_publication" if state["publication"]["failed"] else END


def build_run_graph(deps: Dependencies) -> StateGraph[RunState]:
    """The line, not yet compiled: the API, the worker, the tests and Studio each add their own checkpointer."""
    line = StateGraph(RunState)

    for node in NODES:
        line.add_node(node.__name__, partial(node, deps=deps))
    line.add_node("ideation_gate", gates.ideation_gate)
    line.add_node("publish_gate", gates.publish_gate)

    line.add_edge(START, "supervisor")
    line.add_conditional_edges(
        "supervisor",
        after_supervisor,
        ["ideator", "ideation_gate", "plan_clips", "write_caption", "order_render", "publish_gate", END],
    )
    line.add_conditional_edges("ideator", after_ideator, ["ideation_gate", END])
    line.add_conditional_edges("ideation_gate", after_ideation_gate, ["plan_clips", "supervisor", END])
    line.add_conditional_edges("plan_clips", after_plan_clips, ["order_clip", "await_clips", "ideation_gate"])
    line.add_edge("order_clip", "await_clips")
    line.add_conditional_edges("await_clips", after_await_clips, ["rewrite_shots", "order_render"])
    line.add_edge("rewrite_shots", "plan_clips")
    line.add_edge("order_render", "await_render")
    line.add_conditional_edges("await_render", after_await_render, ["order_render", "write_caption"])
    line.add_edge("write_caption", "publish_gate")
    line.add_conditional_edges("publish_gate", after_publish_gate, ["order_publication", "supervisor", END])
    line.add_edge("order_publication", "await_publication")
    line.add_conditional_edges("await_publication", after_await_publication, ["order_publication", END])
    return line
