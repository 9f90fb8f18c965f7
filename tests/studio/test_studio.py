"""Studio: both graphs run offline and without a key, from the brief to the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from tests.app import SandboxClient
from tests.graph.inbox_clients import AgentChatUI, AgentInbox, typed
from tests.studio.conftest import StudioServer

#: The limit of a complete run: clips are generated and a film is rendered.
SECONDS = 100

#: The same answer in every form: the current and the older one of the agent inboxes, our own, and a plain boolean.
FORMS = ["decisions", "old inbox", "our own", "a boolean"]
APPROVE: list[Any] = [
    {"decisions": [{"type": "approve"}]},
    [{"type": "accept", "args": None}],
    {"approved": True},
    True,
]
REJECT: list[Any] = [
    {"decisions": [{"type": "reject"}]},
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
def client(studio: StudioServer) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=studio.url, timeout=SECONDS) as client:
        yield client


def _assistant(client: SyncLangGraphClient, graph: str) -> str:
    (found,) = client.assistants.search(graph_id=graph)
    return str(found["assistant_id"])


def _start(client: SyncLangGraphClient, **options: Any) -> str:
    thread = str(uuid4())
    client.threads.create(thread_id=thread)
    client.runs.wait(thread, "run", input={"project": "tiny", "brief": "a relaxing rain video"}, **options)
    return thread


def _interrupts(client: SyncLangGraphClient, thread: str) -> list[dict[str, Any]]:
    state = client.threads.get_state(thread)
    return [dict(each) for task in state["tasks"] for each in task["interrupts"]]


def _answer(client: SyncLangGraphClient, thread: str, answer: Any) -> None:
    (interrupt,) = _interrupts(client, thread)
    client.runs.wait(thread, "run", command={"resume": {interrupt["id"]: answer}}, raise_error=False)


def _next_gate(client: SyncLangGraphClient, thread: str) -> str | None:
    """Return the next gate that is open. A wait for orders is resumed until it ends, as a person does with a click."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        interrupts = _interrupts(client, thread)
        if not interrupts:
            return None
        if "waiting_for" not in interrupts[0]["value"]:
            return str(interrupts[0]["value"]["gate"])
        time.sleep(0.5)
        _answer(client, thread, {})
    raise AssertionError(f"the thread still waits: {_interrupts(client, thread)}")


def test_both_graphs_are_listed(client: SyncLangGraphClient) -> None:
    """Studio lists the run graph and the chat graph."""
    assert {each["graph_id"] for each in client.assistants.search()} == {"run", "chat"}


@pytest.mark.parametrize("graph", ["run", "chat"])
def test_graphs_can_be_drawn(studio: StudioServer, client: SyncLangGraphClient, graph: str) -> None:
    """Schemas and drawing are returned."""
    about = f"{studio.url}/assistants/{_assistant(client, graph)}"

    for what in ("schemas", "graph"):
        assert httpx.get(f"{about}/{what}", trust_env=False).status_code == 200


def test_run_starts_with_project_and_brief(client: SyncLangGraphClient) -> None:
    """The input of the run graph has exactly these two fields."""
    schema: Any = client.assistants.get_schemas(_assistant(client, "run"))["input_schema"]

    assert sorted(schema["properties"]) == sorted(schema["required"]) == ["brief", "project"]


@pytest.mark.timeout(3 * SECONDS)
def test_run_completes(
    studio: StudioServer, client: SyncLangGraphClient, sandbox: SandboxClient, postgres_server: str
) -> None:
    """A run opens both gates and ends with a post; a fork from before its clips pays for nothing again."""
    thread, gates = _start(client), []
    while gate := _next_gate(client, thread):
        gates.append(gate)
        _answer(client, thread, {"ideation": APPROVE[0], "publish": True}[gate])

    state = client.threads.get_state(thread)
    history = client.threads.get_history(thread, limit=100)
    charges = sandbox.charges(thread)
    posts = sandbox.posts(state["values"]["film"]["digest"])
    (before,) = [each for each in history if each["next"] == ["plan_clips"]]
    client.runs.wait(thread, "run", input=None, checkpoint=before["checkpoint"])
    again = _next_gate(client, thread)
    _answer(client, thread, True)

    assert gates == ["ideation", "publish"]
    assert state["next"] == []
    assert "failure" not in state["values"]
    assert state["values"]["publication"]["platforms"]
    assert (len(charges), len(posts)) == (1, 1)
    assert again == "publish"
    assert _next_gate(client, thread) is None
    assert client.threads.get_state(thread)["checkpoint"] != state["checkpoint"]
    assert len(client.threads.get_history(thread, limit=100)) > len(history)
    assert (sandbox.charges(thread), sandbox.posts(state["values"]["film"]["digest"])) == (charges, posts)

    decided = studio.rows(
        "select gate, revision, verdict, channel, actor_kind from decisions where run_id = %s", thread
    )
    assert [list(row.values()) for row in decided] == [
        ["ideation", 1, "approve", "studio", "studio"],
        ["publish", 1, "approve", "studio", "studio"],
    ]
    with psycopg.connect(postgres_server) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
    assert tables == (0,), "the database that DATABASE_URL names was used"


def test_step_by_step(client: SyncLangGraphClient) -> None:
    """With a stop after every node, each press continues by one node, and the state can be read and edited."""
    thread, seen = _start(client, interrupt_after="*"), []
    for _ in range(4):
        state = client.threads.get_state(thread)
        seen.append(state["next"])
        if _interrupts(client, thread):
            break
        client.runs.wait(thread, "run", input=None, interrupt_after="*")
    ideas = {**client.threads.get_state(thread)["values"]["ideas"], "title": "Another title"}
    client.threads.update_state(thread, {"ideas": ideas}, as_node="ideator")
    client.runs.wait(thread, "run", input=None)

    assert seen == [["ideator"], ["ideation_gate"], ["ideation_gate"]]
    assert _interrupts(client, thread)[0]["value"]["content"]["title"] == "Another title"


@pytest.mark.parametrize("answer", APPROVE[1:3], ids=FORMS[1:3])
def test_every_form_of_approval(client: SyncLangGraphClient, answer: Any) -> None:
    """The forms that the complete run does not use: the run continues to its clips."""
    thread = _start(client)
    _answer(client, thread, answer)

    assert _interrupts(client, thread)[0]["value"]["waiting_for"]


@pytest.mark.parametrize("answer", REJECT, ids=[FORMS[0], *FORMS[2:]])
def test_every_form_of_rejection(client: SyncLangGraphClient, answer: Any) -> None:
    """The run ends."""
    thread = _start(client)
    _answer(client, thread, answer)

    assert _interrupts(client, thread) == []
    assert client.threads.get_state(thread)["values"]["failure"]["code"] == "rejected"


@pytest.mark.parametrize("answer", REVISE, ids=FORMS[:3])
def test_every_form_of_changes(client: SyncLangGraphClient, answer: Any) -> None:
    """The supervisor reads the comment, and the gate opens again."""
    thread = _start(client)
    _answer(client, thread, answer)
    (interrupt,) = _interrupts(client, thread)

    assert (interrupt["value"]["gate"], interrupt["value"]["revision"]) == ("ideation", 2)
    assert client.threads.get_state(thread)["values"]["decisions"]["ideation"]["comment"] == COMMENT


def test_invalid_answer_leaves_the_gate_open(studio: StudioServer, client: SyncLangGraphClient) -> None:
    """An answer that is no decision is not recorded, and the gate can be answered again."""
    thread = _start(client)
    value = _interrupts(client, thread)[0]["value"]
    ignored, unchanged = AgentInbox(value).ignore(), AgentInbox(value).edit(ideas=typed(value["content"]["ideas"]))
    invalid_answers = ("perhaps", 3, {}, [], {"decisions": []}, {"decisions": [{"type": "approve"}] * 2})
    for invalid in (*invalid_answers, ignored, unchanged, AgentChatUI(value).edit(title="Another")):
        _answer(client, thread, invalid)

    assert _interrupts(client, thread)[0]["value"]["gate"] == "ideation"
    assert studio.rows("select * from decisions where run_id = %s", thread) == []


def test_inbox_edits_the_ideas(studio: StudioServer, client: SyncLangGraphClient) -> None:
    """Agent Inbox sends the list as text, without the id of the interrupt."""
    thread = _start(client)
    value = _interrupts(client, thread)[0]["value"]
    edited = [{**value["content"]["ideas"][0], "overlay": "By hand"}]
    answer = AgentInbox(value).edit(ideas=typed(edited))
    client.runs.wait(thread, "run", command={"resume": answer})
    [decided] = studio.rows("select verdict, edits from decisions where run_id = %s", thread)

    assert (decided["verdict"], decided["edits"]) == ("approve", edited)
    assert _interrupts(client, thread)[0]["value"]["waiting_for"]


def test_chat(studio: StudioServer, client: SyncLangGraphClient) -> None:
    """The product's agent answers with the help of its tools; a run that it starts is a row in Studio's database."""
    thread = client.threads.create()["thread_id"]
    message = {"messages": [{"role": "user", "content": "Which projects are there?"}]}

    values: Any = client.runs.wait(thread, "chat", input=message)

    assert [message["type"] for message in values["messages"]] == ["human", "ai", "tool", "ai"]
    assert "tiny" in values["messages"][-1]["content"]
