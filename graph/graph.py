"""The run graph, from a brief to a published film. Read this file first.

A node with several successors writes the channel `route`; the router only reads it.
"""

from collections.abc import Callable, Hashable
from inspect import signature
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from graph import gates
from graph.dependencies import Dependencies
from graph.nodes import clips, film, ideas, narration, publication
from graph.state import Route, RunInput, RunState
from telemetry.traces import span

#: Each node with the nodes that can run next. Node names are written into checkpoints: a rename is a migration.
SUCCESSORS: dict[Callable[..., Any], list[str]] = {
    ideas.supervisor: [
        "ideator",  # the brief fits the project, or other ideas were requested
        "ideation_gate",  # the price of clips comes first: of a fork, or of clips that a comment asks for again
        "plan_clips",  # the request itself lists clips to generate again
        "write_caption",  # another caption was requested
        "order_render",  # another cut, other takes or other overlays were requested
        "publish_gate",  # the texts of the post were edited, or nothing that was requested is possible
        "end",  # moderation or the screening refused the brief
    ],
    ideas.ideator: [
        "ideation_gate",  # there are ideas and an offer for their clips
        "end",  # moderation refused the ideas
    ],
    gates.ideation_gate: [
        "plan_clips",  # approved
        "supervisor",  # changes requested
        "end",  # rejected
    ],
    clips.plan_clips: [
        "order_clip",  # reserved: one task for each clip
        "await_clips",  # a fork that needs no clip
        "ideation_gate",  # the offer is not the approved one any more
    ],
    clips.order_clip: ["await_clips"],  # every order of the round is placed
    clips.await_clips: [
        "order_render",  # every clip of the film is there
        "await_narration",  # and the film has a narration
        "ideation_gate",  # only a sample was approved: the rest is offered
        "rewrite_shots",  # failed clips get another take
    ],
    clips.rewrite_shots: ["plan_clips"],  # refused prompts are rewritten, and failed clips get another take
    narration.await_narration: ["order_render"],  # every narration of the film is there
    film.order_render: ["await_render"],  # the render is placed
    film.await_render: [
        "write_caption",  # rendered
        "order_render",  # failed, and a retry was requested
    ],
    film.write_caption: ["publish_gate"],  # the film has its caption
    gates.publish_gate: [
        "order_publication",  # approved
        "supervisor",  # changes requested
        "end",  # rejected
    ],
    publication.order_publication: [
        "await_publication",  # the publication is placed
        "publish_gate",  # another publisher would post it than the approved one
        "order_render",  # the film is of a version that did not sign it
    ],
    publication.await_publication: [
        "end",  # published
        "order_publication",  # a platform failed, and a retry was requested
        "publish_gate",  # the publisher was changed before it was called
    ],
}

_ABSENT = object()


def next_node(state: RunState) -> Route | list[Send]:
    """Return the node that the last one selected; for orders of clips, one task for each order of the round."""
    if state["route"] == "order_clip":
        orders = [state["shots"][str(number)] for number in state["ordered"]]
        return [Send("order_clip", {"key": order["key"]}) for order in (*orders, *state.get("speech", {}).values())]
    return state["route"]


def _bind(node: Callable[..., Any], deps: Dependencies) -> Callable[..., Any]:
    """Return the node with its dependencies. It writes the route, and of the rest what differs from the state."""
    takes_config = "config" in signature(node).parameters

    async def run(state: Any, config: RunnableConfig) -> dict[str, Any]:
        options = {"config": config} if takes_config else {}
        with span(node.__name__):
            update = await node(state, deps=deps, **options)
        return {name: value for name, value in update.items() if name == "route" or state.get(name, _ABSENT) != value}

    return run


def build_run_graph(deps: Dependencies) -> StateGraph[RunState, None, Any, RunState]:
    """Return the graph, not compiled: the worker, the tests and Studio each add their own checkpointer."""
    graph = StateGraph(RunState, input_schema=RunInput)
    graph.add_edge(START, "supervisor")  # a run starts with its brief, a fork with the ideas of its source
    for node, successors in SUCCESSORS.items():
        graph.add_node(node.__name__, _bind(node, deps))
        if len(successors) == 1:
            graph.add_edge(node.__name__, successors[0])
        else:
            routes: dict[Hashable, str] = {name: END if name == "end" else name for name in successors}
            graph.add_conditional_edges(node.__name__, next_node, routes)
    return graph
