"""The edges of the run graph, and the routes that its nodes write."""

from typing import Any, get_args

import pytest
from langgraph.checkpoint.serde.types import TASKS
from langgraph.graph import END
from langgraph.types import Send

from graph import graph
from graph.nodes.changes import NODE_OF_TARGET
from graph.state import ChangeTarget, Route
from graph.status import STATUS_OF_WAITING_NODE, STEP_OF_NODE
from tests.graph.fakes import PROJECT, RunHarness, requested


@pytest.mark.parametrize("route", get_args(Route))
def test_the_router_only_reads_the_route(route: Route) -> None:
    """A route is the name of a node, or the end of the run."""
    if route != "order_clip":
        assert graph.next_node({"route": route}) == route
    targets = {edge.target for edge in RunHarness().graph.get_graph().edges if edge.conditional}
    assert (END if route == "end" else route) in targets


@pytest.mark.parametrize(
    ("changes", "comment", "route"),
    [
        ([requested("ideas"), requested("clips", 1)], "Something else", "ideator"),
        ([requested("clips", 2)], "clip 2 again", "ideation_gate"),
        ([requested("clips", 2), requested("overlay", 1, overlay="Rain")], "the blurry one", "ideation_gate"),
        ([requested("caption"), requested("keep", 1)], "Shorter", "write_caption"),
        ([requested("overlay", 1, overlay="Rain"), requested("caption")], "Another text", "order_render"),
        ([requested("impossible", reason="The project determines this.")], "Softer cuts", "publish_gate"),
        ([requested("keep", 1)], "Keep it", "publish_gate"),
    ],
)
async def test_routes_of_the_supervisor(changes: list[dict[str, Any]], comment: str, route: Route) -> None:
    """A comment leads to the step that it concerns, and clips to their price first, named by number or not."""
    run = RunHarness(RequestedChanges=[{"changes": changes}])
    await run.run_to_publish_gate()
    run.routes.clear()
    await run.answer({"verdict": "revise", "comment": comment, "number": 2})

    assert run.routes[:2] == [("publish_gate", "supervisor"), ("supervisor", route)]


async def test_the_supervisor_ends_a_run_whose_brief_is_refused() -> None:
    """The ideator never runs."""
    run = RunHarness()
    run.moderation.words = ("Rain",)
    await run.start()

    assert run.routes == [("supervisor", "end")]


async def test_edits_of_the_post_lead_straight_back_to_the_gate() -> None:
    """Nothing has to be generated, and no model reads the decision."""
    run = RunHarness()
    await run.run_to_publish_gate()
    await run.answer({"verdict": "revise", "edits": {"caption": "Sea."}, "number": 2})

    assert run.routes[-1] == ("supervisor", "publish_gate")


@pytest.mark.parametrize(
    ("gate", "verdict", "route"),
    [
        ("ideation", "approve", "plan_clips"),
        ("ideation", "revise", "supervisor"),
        ("ideation", "reject", "end"),
        ("publish", "approve", "order_publication"),
        ("publish", "revise", "supervisor"),
        ("publish", "reject", "end"),
    ],
)
async def test_routes_of_a_gate(gate: str, verdict: str, route: Route) -> None:
    """An approval continues, requested changes go to the supervisor, a rejection ends the run."""
    run = RunHarness()
    await (run.start() if gate == "ideation" else run.run_to_publish_gate())
    run.routes.clear()
    await run.answer({"verdict": verdict, "comment": "Brighter", "number": 2})

    assert run.routes[0] == (f"{gate}_gate", route)


@pytest.mark.parametrize(("words", "route"), [(("Roof",), "end"), ((), "ideation_gate")])
async def test_routes_of_the_ideator(words: tuple[str, ...], route: Route) -> None:
    """Refused ideas end the run, others are presented."""
    run = RunHarness()
    run.moderation.words = words
    await run.start("Rain")

    assert run.routes == [("supervisor", "ideator"), ("ideator", route)]


@pytest.mark.parametrize(
    ("node", "orders", "success", "failure"),
    [
        ("await_clips", 0, "order_render", "rewrite_shots"),
        ("await_render", 1, "write_caption", "order_render"),
        ("await_publication", 2, "end", "order_publication"),
    ],
)
async def test_failed_orders_are_placed_again(node: str, orders: int, success: Route, failure: Route) -> None:
    """A node that waits sends failed orders back after a retry, and continues with settled ones."""
    run = RunHarness(PROJECT.model_copy(update={"takes": 1}))
    await run.start()
    await run.answer({"verdict": "approve", "number": 1})
    for _ in range(orders):
        await run.settle_orders()
    if node == "await_publication":
        await run.answer({"verdict": "approve", "number": 2})
    keys = run.ledger.open_keys()
    run.ledger.fail(keys[0])
    for key in keys[1:]:
        run.ledger.settle(key)
    run.records.request_retry()
    await run.answer({"over": keys})
    assert (node, failure) in run.routes

    run.routes.clear()
    await run.settle_orders()
    assert run.routes[0] == (node, success)


def test_only_the_clips_of_this_round_are_ordered() -> None:
    """The others are there already; a fork that needs none orders none."""
    shots: Any = {str(n): {"key": f"run:clip:{n}:1"} for n in (1, 2, 3)}
    tasks = graph.next_node({"route": "order_clip", "shots": shots, "ordered": [2]})

    assert isinstance(tasks, list)
    assert [(task.node, task.arg["key"]) for task in tasks if isinstance(task, Send)] == [
        ("order_clip", "run:clip:2:1")
    ]
    assert graph.next_node({"route": "await_clips", "shots": shots, "ordered": []}) == "await_clips"


def test_a_node_with_several_successors_selects_one_of_them() -> None:
    """Every node has either one edge or routes, and every route is a successor that the graph knows."""
    successors = {node.__name__: names for node, names in graph.SUCCESSORS.items()}
    edges = RunHarness().graph.get_graph().edges

    for name, names in successors.items():
        assert set(names) <= {*successors, "end"}
        assert len(names) == 1 or set(names) <= set(get_args(Route))
        targets = {END if successor == "end" else successor for successor in names}
        assert {(edge.target, edge.conditional) for edge in edges if edge.source == name} == {
            (target, len(names) > 1) for target in targets
        }
    assert [edge.target for edge in edges if edge.source == "__start__"] == ["supervisor"]
    assert set(NODE_OF_TARGET) == set(get_args(ChangeTarget))
    assert set(NODE_OF_TARGET.values()) <= set(successors["supervisor"])


def test_every_node_has_a_step_and_every_wait_a_status() -> None:
    """The terms of the API reference cover the whole graph."""
    nodes = set(RunHarness().graph.get_graph().nodes) - {"__start__", "__end__"}

    assert nodes == set(STEP_OF_NODE)
    assert set(STATUS_OF_WAITING_NODE) < nodes
    assert set(STEP_OF_NODE.values()) == {"supervisor", "ideator", "clips", "render", "publisher"}
    assert graph.build_run_graph.__doc__


def test_the_input_is_a_project_and_a_brief() -> None:
    """Everything else about a run is loaded by its first step."""
    schema = RunHarness().graph.get_input_jsonschema()

    assert sorted(schema["properties"]) == sorted(schema["required"]) == ["brief", "project"]


async def test_a_node_writes_only_what_it_changes() -> None:
    """The ideas are stored once, although the gate and the plan of the clips return them; a task names its order."""
    run = RunHarness()
    await run.run_to_publish_gate()

    checkpoints = list(run.saver.list(run.config))
    versions = {each.checkpoint["channel_versions"].get("ideas") for each in checkpoints} - {None}
    writes = [value for each in checkpoints for _, channel, value in each.pending_writes or [] if channel == TASKS]
    sent = [task.arg for task in writes if isinstance(task, Send) and task.node == "order_clip"]
    assert len(versions) == 1
    assert [set(arg) for arg in sent] == [{"key"}] * 3
