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

#: A run of the line: clips are painted and a film is rendered.
SECONDS = 100

pytestmark = pytest.mark.slow


@pytest.fixture
def client(studio: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=studio, timeout=SECONDS) as client:
        yield client


def _assistant(client: SyncLangGraphClient, graph: str) -> str:
    (found,) = client.assistants.search(graph_id=graph)
    return str(found["assistant_id"])


def _start(client: SyncLangGraphClient) -> str:
    thread = str(uuid4())
    client.threads.create(thread_id=thread)
    run = {"id": thread, "project": "shorts", "brief": "a relaxing rain video", "options": {}}
    client.runs.wait(thread, "line", input={"run": run})
    return thread


def _asked(client: SyncLangGraphClient, thread: str) -> list[dict[str, Any]]:
    state = client.threads.get_state(thread)
    return [dict(each) for task in state["tasks"] for each in task["interrupts"]]


def _wait_for_orders(client: SyncLangGraphClient, thread: str) -> list[dict[str, Any]]:
    """Resume whatever waits for orders, as a person does with a click, until a gate asks or it is over."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        asked = _asked(client, thread)
        if not asked or "waiting_for" not in asked[0]["value"]:
            return asked
        time.sleep(0.5)
        client.runs.wait(thread, "line", command={"resume": {asked[0]["id"]: {}}})
    raise AssertionError(f"the thread still waits: {asked}")


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
def test_line_runs_to_its_end(client: SyncLangGraphClient) -> None:
    """A run started in Studio asks at both gates, takes both forms of yes, and ends with a post in the sandbox."""
    approvals = {"ideation": {"decisions": [{"type": "approve"}]}, "publish": True}
    thread = _start(client)
    gates = []
    while asked := _wait_for_orders(client, thread):
        gates.append(asked[0]["value"]["gate"])
        client.runs.wait(thread, "line", command={"resume": {asked[0]["id"]: approvals[gates[-1]]}})

    state = client.threads.get_state(thread)
    history = client.threads.get_history(thread, limit=100)

    assert gates == ["ideation", "publish"]
    assert state["next"] == []
    assert "failure" not in state["values"]
    assert state["values"]["publication"]["facts"]["platforms"]
    assert len(history) > 10


def test_gate_asks_again(client: SyncLangGraphClient) -> None:
    """An answer that is none leaves the gate open."""
    thread = _start(client)
    (asked,) = _asked(client, thread)

    client.runs.wait(thread, "line", command={"resume": {asked["id"]: "perhaps"}}, raise_error=False)

    assert _asked(client, thread)[0]["value"]["gate"] == "ideation"


def test_talk(client: SyncLangGraphClient) -> None:
    """The supervisor answers with the help of a tool."""
    thread = client.threads.create()["thread_id"]
    asked = {"messages": [{"role": "user", "content": "Which projects are there?"}]}

    values: Any = client.runs.wait(thread, "supervisor", input=asked)

    assert [message["type"] for message in values["messages"]] == ["human", "ai", "tool", "ai"]
    assert "shorts" in values["messages"][-1]["content"]
