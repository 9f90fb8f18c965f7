"""Studio: both graphs, offline and without a key, from the brief to the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from tests.app import SandboxClient

#: A run of the line: clips are painted and a film is rendered.
SECONDS = 100

#: The same answer in every form: the new and the old one of the inboxes, our own, and a plain word.
FORMS = ["decisions", "old inbox", "our own", "a boolean"]
APPROVE: list[Any] = [
    {"decisions": [{"type": "approve"}]},
    [{"type": "accept", "args": None}],
    {"approved": True},
    True,
]
REJECT: list[Any] = [
    {"decisions": [{"type": "reject"}]},
    [{"type": "ignore", "args": None}],
    {"approved": False},
    False,
]
COMMENT = "More rain"
REVISE: list[Any] = [
    {"decisions": [{"type": "reject", "message": COMMENT}]},
    [{"type": "response", "args": COMMENT}],
    {"approved": False, "comment": COMMENT},
]

pytestmark = pytest.mark.slow


@pytest.fixture
def client(studio: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=studio, timeout=SECONDS) as client:
        yield client


def _assistant(client: SyncLangGraphClient, graph: str) -> str:
    (found,) = client.assistants.search(graph_id=graph)
    return str(found["assistant_id"])


def _start(client: SyncLangGraphClient, **how: Any) -> str:
    thread = str(uuid4())
    client.threads.create(thread_id=thread)
    run = {"id": thread, "project": "shorts", "brief": "a relaxing rain video", "options": {"clips": 1}}
    client.runs.wait(thread, "line", input={"run": run}, **how)
    return thread


def _asked(client: SyncLangGraphClient, thread: str) -> list[dict[str, Any]]:
    state = client.threads.get_state(thread)
    return [dict(each) for task in state["tasks"] for each in task["interrupts"]]


def _answer(client: SyncLangGraphClient, thread: str, answer: Any) -> None:
    (asked,) = _asked(client, thread)
    client.runs.wait(thread, "line", command={"resume": {asked["id"]: answer}}, raise_error=False)


def _next_gate(client: SyncLangGraphClient, thread: str) -> str | None:
    """The gate that asks next; whatever waits for orders is resumed meanwhile, as a person does with a click."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        asked = _asked(client, thread)
        if not asked:
            return None
        if "waiting_for" not in asked[0]["value"]:
            return str(asked[0]["value"]["gate"])
        time.sleep(0.5)
        _answer(client, thread, {})
    raise AssertionError(f"the thread still waits: {_asked(client, thread)}")


def test_both_graphs_are_there(client: SyncLangGraphClient) -> None:
    """Studio lists the line and the talk."""
    assert {"line", "supervisor"} == {each["graph_id"] for each in client.assistants.search()}


@pytest.mark.parametrize("graph", ["line", "supervisor"])
def test_graphs_can_be_drawn(studio: str, client: SyncLangGraphClient, graph: str) -> None:
    """Schemas and drawing are answered without anything behind the graph."""
    about = f"{studio}/assistants/{_assistant(client, graph)}"

    for what in ("schemas", "graph"):
        assert httpx.get(f"{about}/{what}", trust_env=False).status_code == 200


@pytest.mark.timeout(3 * SECONDS)
def test_line_runs_to_its_end(client: SyncLangGraphClient, sandbox: SandboxClient) -> None:
    """A run asks at both gates and ends with a post; forked from before its clips, it pays and posts nothing more."""
    thread, gates = _start(client), []
    while gate := _next_gate(client, thread):
        gates.append(gate)
        _answer(client, thread, {"ideation": APPROVE[0], "publish": True}[gate])

    state = client.threads.get_state(thread)
    history = client.threads.get_history(thread, limit=100)
    charges = sandbox.charges(thread)
    posts = sandbox.posts(state["values"]["film"]["digest"])
    (before,) = [each for each in history if each["next"] == ["plan_clips"]]
    client.runs.wait(thread, "line", input=None, checkpoint=before["checkpoint"])
    again = _next_gate(client, thread)
    _answer(client, thread, True)

    assert gates == ["ideation", "publish"]
    assert state["next"] == []
    assert "failure" not in state["values"]
    assert state["values"]["publication"]["facts"]["platforms"]
    assert (len(charges), len(posts)) == (1, 1)
    assert again == "publish"
    assert _next_gate(client, thread) is None
    assert client.threads.get_state(thread)["checkpoint"] != state["checkpoint"]
    assert len(client.threads.get_history(thread, limit=100)) > len(history)
    assert (sandbox.charges(thread), sandbox.posts(state["values"]["film"]["digest"])) == (charges, posts)


def test_step_by_step(client: SyncLangGraphClient) -> None:
    """With a stop after every node, each press moves it on by one, and what it knows can be looked at and changed."""
    thread, seen = _start(client, interrupt_after="*"), []
    for _ in range(4):
        state = client.threads.get_state(thread)
        seen.append(state["next"])
        if _asked(client, thread):
            break
        client.runs.wait(thread, "line", input=None, interrupt_after="*")
    ideas = {**client.threads.get_state(thread)["values"]["ideas"], "title": "Another title"}
    client.threads.update_state(thread, {"ideas": ideas}, as_node="ideator")
    client.runs.wait(thread, "line", input=None)

    assert seen == [["ideator"], ["ideation_gate"], ["ideation_gate"]]
    assert _asked(client, thread)[0]["value"]["content"]["title"] == "Another title"


@pytest.mark.parametrize("answer", APPROVE[1:3], ids=FORMS[1:3])
def test_every_form_of_yes(client: SyncLangGraphClient, answer: Any) -> None:
    """Those that the whole run does not try; it goes on to its clips."""
    thread = _start(client)
    _answer(client, thread, answer)

    assert _asked(client, thread)[0]["value"]["waiting_for"]


@pytest.mark.parametrize("answer", REJECT, ids=FORMS)
def test_every_form_of_no(client: SyncLangGraphClient, answer: Any) -> None:
    """The run is over."""
    thread = _start(client)
    _answer(client, thread, answer)

    assert _asked(client, thread) == []
    assert client.threads.get_state(thread)["values"]["failure"]["code"] == "rejected"


@pytest.mark.parametrize("answer", REVISE, ids=FORMS[:3])
def test_every_form_of_changes(client: SyncLangGraphClient, answer: Any) -> None:
    """The supervisor reads the comment, and the gate asks again."""
    thread = _start(client)
    _answer(client, thread, answer)
    (asked,) = _asked(client, thread)

    assert (asked["value"]["gate"], asked["value"]["revision"]) == ("ideation", 2)
    assert client.threads.get_state(thread)["values"]["decisions"]["ideation"]["comment"] == COMMENT


def test_gate_asks_again(client: SyncLangGraphClient) -> None:
    """An answer that is none leaves the gate open."""
    thread = _start(client)
    for none in ("perhaps", 3, {}, [], {"decisions": []}, {"decisions": [{"type": "approve"}] * 2}):
        _answer(client, thread, none)

    assert _asked(client, thread)[0]["value"]["gate"] == "ideation"


def test_talk(client: SyncLangGraphClient) -> None:
    """The supervisor answers with the help of a tool."""
    thread = client.threads.create()["thread_id"]
    asked = {"messages": [{"role": "user", "content": "Which projects are there?"}]}

    values: Any = client.runs.wait(thread, "supervisor", input=asked)

    assert [message["type"] for message in values["messages"]] == ["human", "ai", "tool", "ai"]
    assert "shorts" in values["messages"][-1]["content"]
