"""The run graph, from a brief to a published film. Read this file first.

A node with several successors writes the channel `route`. `ROUTES` lists them; the router only reads the channel.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graph import gates
from graph.dependencies import Dependencies
from graph.nodes import clips, film, ideas, publication
from graph.state import Route, RunInput, RunState

#: Node names are written into checkpoints: a rename is a migration.
NODES = (
    ideas.supervisor,
    ideas.ideator,
    gates.ideation_gate,
    clips.plan_clips,
    clips.order_clip,
    clips.await_clips,
    clips.rewrite_shots,
    film.order_render,
    film.await_render,
    film.write_caption,
    gates.publish_gate,
    publication.order_publication,
    publication.await_publication,
)

#: Nodes with one successor.
EDGES = (
    (START, "supervisor"),  # a run starts with its brief, a fork with the ideas of its source
    ("order_clip", "await_clips"),  # every order of the round is placed
    ("rewrite_shots", "plan_clips"),  # refused prompts are rewritten, and failed clips get another take
    ("order_render", "await_render"),  # the render is placed
    ("write_caption", "publish_gate"),  # the film has its caption
    ("order_publication", "await_publication"),  # the publication is placed
)

#: Nodes with several successors: the node that runs next, by `route`.
ROUTES: dict[str, dict[Hashable, str]] = {
    "supervisor": {
        "ideator": "ideator",  # the brief fits the project, or other ideas were requested
        "ideation_gate": "ideation_gate",  # the price of clips comes first: of a fork, or of a choice by the model
        "plan_clips": "plan_clips",  # the reviewer named clips to generate again
        "write_caption": "write_caption",  # another caption was requested
        "order_render": "order_render",  # another cut, other takes or other overlays were requested
        "publish_gate": "publish_gate",  # the texts of the post were edited: nothing has to be generated
        "end": END,  # moderation or the screening refused the brief
    },
    "ideator": {
        "ideation_gate": "ideation_gate",  # there are ideas and an offer for their clips
        "end": END,  # moderation refused the ideas
    },
    "ideation_gate": {
        "plan_clips": "plan_clips",  # approved
        "supervisor": "supervisor",  # changes requested
        "end": END,  # rejected
    },
    "plan_clips": {
        "order_clip": "order_clip",  # reserved: one task for each clip
        "await_clips": "await_clips",  # a fork that needs no clip
        "ideation_gate": "ideation_gate",  # the offer is not the approved one any more
    },
    "await_clips": {
        "order_render": "order_render",  # every clip of the film is there
        "rewrite_shots": "rewrite_shots",  # failed clips get another take
    },
    "await_render": {
        "write_caption": "write_caption",  # rendered
        "order_render": "order_render",  # failed, and a retry was requested
    },
    "publish_gate": {
        "order_publication": "order_publication",  # approved
        "supervisor": "supervisor",  # changes requested
        "end": END,  # rejected
    },
    "await_publication": {
        "end": END,  # published
        "order_publication": "order_publication",  # failed, and a retry was requested
    },
}


def next_node(state: RunState) -> Route | list[Send]:
    """Return the node that the last one selected; for orders of clips, one task for each clip of the round."""
    if state["route"] == "order_clip":
        return [Send("order_clip", state["shots"][str(number)]) for number in state["ordered"]]
    return state["route"]


def build_run_graph(deps: Dependencies) -> StateGraph[RunState, None, Any, RunState]:
    """Return the graph, not compiled: the worker, the tests and Studio each add their own checkpointer."""
    graph = StateGraph(RunState, input_schema=RunInput)
    for node in NODES:
        graph.add_node(node.__name__, partial(node, deps=deps))
    for start, end in EDGES:
        graph.add_edge(start, end)
    for name, routes in ROUTES.items():
        graph.add_conditional_edges(name, next_node, routes)
    return graph
