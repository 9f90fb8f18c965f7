"""The run graph, from a brief to a published film. Read this file first.

A node that has more than one successor writes the channel `route`; the edges below read it and decide nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graph.dependencies import Dependencies
from graph.gates import ideation_gate, publish_gate
from graph.nodes.clips import await_clips, order_clip, plan_clips, rewrite_shots
from graph.nodes.film import await_render, order_render, write_caption
from graph.nodes.ideas import ideator, supervisor
from graph.nodes.publication import await_publication, order_publication
from graph.state import Route, RunInput, RunState

#: Node names are written into checkpoints: a rename is a migration.
NODES = (
    supervisor,
    ideator,
    ideation_gate,
    plan_clips,
    order_clip,
    await_clips,
    rewrite_shots,
    order_render,
    await_render,
    write_caption,
    publish_gate,
    order_publication,
    await_publication,
)


def next_node(state: RunState) -> Route:
    """Return the node that the last one selected."""
    return state["route"]


def after_plan_clips(state: RunState) -> list[Send] | Literal["await_clips", "ideation_gate"]:
    """Return one task for each clip of this round, or the node that was selected instead."""
    route = state["route"]
    if route == "await_clips" or route == "ideation_gate":
        return route
    return [Send("order_clip", state["shots"][str(number)]) for number in state["ordered"]]


def build_run_graph(deps: Dependencies) -> StateGraph[RunState, None, RunInput, RunState]:
    """Return the graph, not compiled: the worker, the tests and Studio each add their own checkpointer."""
    graph = StateGraph(RunState, input_schema=RunInput)
    for node in NODES:
        graph.add_node(node.__name__, partial(node, deps=deps))

    graph.add_edge(START, "supervisor")
    graph.add_conditional_edges(
        "supervisor",
        next_node,
        {
            "ideator": "ideator",  # the brief fits the project, or other ideas were requested
            "ideation_gate": "ideation_gate",  # clips to price first: of a fork, or named by the model alone
            "plan_clips": "plan_clips",  # the reviewer named clips to generate again
            "write_caption": "write_caption",  # another caption was requested
            "order_render": "order_render",  # the same clips in another cut, with other takes or overlays
            "publish_gate": "publish_gate",  # edited texts of the post: nothing has to be generated
            "end": END,  # moderation or the screening refused the brief
        },
    )
    graph.add_conditional_edges(
        "ideator",
        next_node,
        {
            "ideation_gate": "ideation_gate",  # ideas with their cost
            "end": END,  # moderation refused the ideas
        },
    )
    graph.add_conditional_edges(
        "ideation_gate",
        next_node,
        {
            "plan_clips": "plan_clips",  # approved
            "supervisor": "supervisor",  # changes requested
            "end": END,  # rejected
        },
    )
    graph.add_conditional_edges(
        "plan_clips",
        after_plan_clips,
        {
            "order_clip": "order_clip",  # one task for each reserved clip
            "await_clips": "await_clips",  # a fork that needs no clip
            "ideation_gate": "ideation_gate",  # the offer changed since it was approved
        },
    )
    # Every order of the round was placed.
    graph.add_edge("order_clip", "await_clips")
    graph.add_conditional_edges(
        "await_clips",
        next_node,
        {
            "order_render": "order_render",  # every clip of the film is there
            "rewrite_shots": "rewrite_shots",  # some failed and get another take
        },
    )
    # The prompts that moderation refused are rewritten.
    graph.add_edge("rewrite_shots", "plan_clips")
    # The render was placed.
    graph.add_edge("order_render", "await_render")
    graph.add_conditional_edges(
        "await_render",
        next_node,
        {
            "write_caption": "write_caption",  # the film is rendered
            "order_render": "order_render",  # the render failed and a retry was requested
        },
    )
    # The film has its caption.
    graph.add_edge("write_caption", "publish_gate")
    graph.add_conditional_edges(
        "publish_gate",
        next_node,
        {
            "order_publication": "order_publication",  # approved
            "supervisor": "supervisor",  # changes requested
            "end": END,  # rejected
        },
    )
    # The publication was placed.
    graph.add_edge("order_publication", "await_publication")
    graph.add_conditional_edges(
        "await_publication",
        next_node,
        {
            "end": END,  # published
            "order_publication": "order_publication",  # the publication failed and a retry was requested
        },
    )
    return graph
