"""Where the line goes next."""

from typing import Any

import pytest
from langgraph.graph import END

from graph import graph
from graph.graph import build_run_graph
from graph.nodes.ideas import clip_numbers_in
from graph.status import STATUS_OF_WAITING_NODE, STEP_OF_NODE
from tests.graph.fakes import RunHarness


@pytest.mark.parametrize(
    ("state", "next_node"),
    [
        ({"failure": {"code": "x", "message": "y"}}, END),
        ({"going": {"step": "ideas", "clips": [], "comment": ""}}, "ideator"),
        ({"going": {"step": "clips", "clips": [2], "comment": ""}}, "plan_clips"),
        ({"going": {"step": "clips", "clips": [], "comment": ""}}, "ideation_gate"),
        ({"going": {"step": "caption", "clips": [], "comment": ""}}, "write_caption"),
        ({"going": {"step": "render", "clips": [], "comment": ""}}, "order_render"),
    ],
)
def test_after_the_supervisor(state: Any, next_node: str) -> None:
    """A brief that was screened out ends; clips that nobody named are shown with their price first."""
    assert graph.after_supervisor(state) == next_node


@pytest.mark.parametrize(
    ("gate", "verdict", "next_node"),
    [
        ("ideation", "approve", "plan_clips"),
        ("ideation", "revise", "supervisor"),
        ("ideation", "reject", END),
        ("publish", "approve", "order_publication"),
        ("publish", "revise", "supervisor"),
        ("publish", "reject", END),
    ],
)
def test_after_a_gate(gate: str, verdict: str, next_node: str) -> None:
    """Yes goes on, changes go back to the supervisor, no ends the run."""
    after = {"ideation": graph.after_ideation_gate, "publish": graph.after_publish_gate}[gate]

    assert after({"decisions": {gate: {"verdict": verdict}}}) == next_node  # type: ignore[typeddict-item]


GOING: Any = {"step": "clips", "clips": [], "comment": ""}


def test_only_the_clips_of_this_round_are_ordered() -> None:
    """The others are there already; a fork that needs none orders none."""
    shots = {str(n): {"key": f"run:clip:{n}:1"} for n in (1, 2, 3)}
    sends = graph.after_plan_clips({"going": GOING, "shots": shots, "ordered": [2]})  # type: ignore[typeddict-item]

    assert [(send.node, send.arg["key"]) for send in sends] == [("order_clip", "run:clip:2:1")]  # type: ignore[union-attr]
    assert graph.after_plan_clips({"going": GOING, "shots": shots, "ordered": []}) == "await_clips"  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("after", "state", "next_node"),
    [
        (graph.after_ideator, {"failure": {}}, END),
        (graph.after_ideator, {}, "ideation_gate"),
        (graph.after_await_clips, {"failed_shots": [1]}, "rewrite_shots"),
        (graph.after_await_clips, {"failed_shots": []}, "order_render"),
        (graph.after_await_render, {"render": {"failed": True}}, "order_render"),
        (graph.after_await_render, {"render": {"failed": False}}, "write_caption"),
        (graph.after_await_publication, {"publication": {"failed": True}}, "order_publication"),
        (graph.after_await_publication, {"publication": {"failed": False}}, END),
    ],
)
def test_what_failed_is_ordered_again(after: Any, state: Any, next_node: str) -> None:
    """A step that waits sends back what failed, and lets through what was made."""
    assert after(state) == next_node


def test_every_node_has_a_step_and_every_wait_a_status() -> None:
    """The words of the API reference cover the whole line."""
    nodes = set(RunHarness().graph.get_graph().nodes) - {"__start__", "__end__"}

    assert nodes == set(STEP_OF_NODE)
    assert set(STATUS_OF_WAITING_NODE) < nodes
    assert set(STEP_OF_NODE.values()) == {"supervisor", "ideator", "clips", "render", "publisher"}
    assert build_run_graph.__doc__


@pytest.mark.parametrize(
    ("comment", "named"),
    [
        ("clip 2 again, please", {2}),
        ("Clips 1, 3 and 12 are too dark", {1, 3, 12}),
        ("clip #4 & clip no. 5", {4, 5}),
        ("2", {2}),
        ("1, 2 and 3.", {1, 2, 3}),
        ("2 seconds longer", set()),
        ("make 3 of them brighter", set()),
        ("eclipse 2", set()),
    ],
)
def test_a_comment_names_clips_by_their_numbers(comment: str, named: set[int]) -> None:
    """Other numbers in a comment buy nothing."""
    assert clip_numbers_in(comment) == named
