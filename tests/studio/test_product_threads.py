"""Studio shows the threads of the product's Postgres, read-only."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from tests.app import App
from tests.studio.conftest import ROOT, run_studio

SECONDS = 30
READ_ONLY = "These threads are read-only."


@pytest.fixture(scope="module")
def server(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that shows the threads of the app."""
    folder = tmp_path_factory.mktemp("studio")
    with run_studio(folder, THREADS="product", DATABASE_URL=app.dsn, MYLOWARE_DATA_DIR=str(folder / "data")) as url:
        yield url


@pytest.fixture
def client(server: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=server, timeout=SECONDS) as client:
        yield client


def _wait_for_listed(client: SyncLangGraphClient, **metadata: str) -> dict[str, Any]:
    """Return the newest thread with this metadata, once it is listed."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for thread in client.threads.search(metadata=metadata, limit=1):
            return dict(thread)
        time.sleep(0.2)
    raise AssertionError(f"no thread is listed with {metadata}: {client.threads.search()}")


def _run_at_a_gate(app: App, brief: str) -> dict[str, Any]:
    return app.until(app.start(brief), "awaiting_ideation_approval")


def _all_rows(app: App, run_id: str) -> list[Any]:
    """Return everything that the database contains about a run, to the last byte."""
    tables = {"checkpoints": "thread_id", "checkpoint_blobs": "thread_id", "checkpoint_writes": "thread_id"}
    tables |= {"runs": "id", "orders": "run_id", "decisions": "run_id", "events": "run_id"}
    return [
        app.rows(f"select t::text from {table} t where {column}::text = %s order by 1", run_id)
        for table, column in tables.items()
    ]


@pytest.mark.slow
def test_run_is_shown_and_kept_up_to_date(app: App, client: SyncLangGraphClient) -> None:
    """The open gate, the values and the complete history are shown, and soon after it a decision made elsewhere."""
    run = _run_at_a_gate(app, "A lantern on a lake")
    run_id = run["run_id"]
    listed = _wait_for_listed(client, brief="A lantern on a lake", status="awaiting_ideation_approval")
    state = client.threads.get_state(run_id)
    ((interrupt,),) = [task["interrupts"] for task in state["tasks"]]
    history = client.threads.get_history(run_id, limit=100)
    (checkpoints,) = app.rows("select count(*) as n from checkpoints where thread_id = %s", run_id)
    app.decide(run_id, "ideation", approved=False)
    _wait_for_listed(client, brief="A lantern on a lake", status="failed")

    assert (listed["thread_id"], listed["metadata"]["graph_id"]) == (run_id, "run")
    assert state["values"]["brief"] == "A lantern on a lake"
    assert (interrupt["value"]["gate"], interrupt["value"]["digest"]) == ("ideation", run["review"]["digest"])
    assert len(history) == checkpoints["n"] > 2
    assert client.threads.get_state(run_id)["values"]["failure"]["code"] == "rejected"


@pytest.mark.slow
def test_chat_session_is_shown(app: App, client: SyncLangGraphClient) -> None:
    """A session is listed with its messages."""
    answer = app.client.post("/v1/chat/supervisor", json={"message": "What projects are there?"}).json()
    thread = _wait_for_listed(client, session_id=answer["session_id"])
    messages = client.threads.get_state(thread["thread_id"])["values"]["messages"]

    assert thread["metadata"]["graph_id"] == "chat"
    assert (messages[0]["content"], messages[-1]["content"]) == ("What projects are there?", answer["response"])


@pytest.mark.slow
def test_nothing_can_be_changed(app: App, server: str, client: SyncLangGraphClient) -> None:
    """Every way to answer, run, edit, copy or delete is refused in one sentence, and the database stays as it was."""
    run_id = _run_at_a_gate(app, "A door in the dunes")["run_id"]
    _wait_for_listed(client, brief="A door in the dunes")
    (interrupt,) = client.threads.get_state(run_id)["tasks"][0]["interrupts"]
    (assistant,) = client.assistants.search(graph_id="run")
    run = {"assistant_id": assistant["assistant_id"]}
    resume = {**run, "command": {"resume": {interrupt["id"]: True}}}
    values = {"failure": {"code": "mine", "message": "Mine."}}
    start = {**run, "input": {"project": "tiny", "brief": "Mine"}}
    before = _all_rows(app, run_id)
    changes: list[tuple[str, str, Any]] = [
        *(("POST", f"/threads/{run_id}/runs{how}", resume) for how in ("", "/wait", "/stream")),
        ("POST", f"/threads/{run_id}/runs/wait", start),
        ("POST", f"/threads/{run_id}/runs/wait", {**run, "input": None}),
        ("POST", "/runs/wait", start),
        ("POST", f"/threads/{run_id}/state", {"values": values}),
        ("PATCH", f"/threads/{run_id}", {"metadata": {"status": "completed"}}),
        ("POST", f"/threads/{run_id}/copy", None),
        ("POST", "/threads/prune", {"thread_ids": [run_id], "strategy": "delete"}),
        ("DELETE", f"/threads/{run_id}", None),
        ("POST", "/threads", {"supersteps": [{"updates": [{"values": values, "as_node": "supervisor"}]}]}),
        ("POST", "/assistants", {"graph_id": "run"}),
    ]
    answers = [httpx.request(method, f"{server}{path}", json=body, timeout=SECONDS) for method, path, body in changes]

    assert [(answer.status_code, answer.json()["detail"]) for answer in answers] == [(403, READ_ONLY)] * len(changes)
    assert _all_rows(app, run_id) == before
    assert client.threads.get_state(run_id)["tasks"][0]["interrupts"] == [interrupt]


@pytest.mark.slow
def test_other_pages_cannot_read_the_threads(server: str) -> None:
    """CORS admits Studio's page only; any other page in the same browser is refused."""
    request = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = [
        httpx.options(f"{server}/threads/search", headers={"Origin": origin, **request}).headers.get(
            "access-control-allow-origin"
        )
        for origin in ("https://smith.langchain.com", "https://evil.example")
    ]

    assert allowed == ["https://smith.langchain.com", None]


def _run_lister(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the lister of the product's threads where it cannot start."""
    return subprocess.run(
        [sys.executable, "-m", "cli.studio", "http://127.0.0.1:9"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_unused_database_has_nothing_to_show(tmp_path: Path, postgres_server: str) -> None:
    """The lister exits with one sentence and creates no table; the same if the database cannot be reached."""
    empty = _run_lister(tmp_path, DATABASE_URL=postgres_server)
    unreachable = _run_lister(tmp_path, DATABASE_URL="postgresql://127.0.0.1:9/none")
    with psycopg.connect(postgres_server) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()

    assert tables == (0,)
    messages = ((empty, "There are no threads to show"), (unreachable, "DATABASE_URL: The database cannot be"))
    for result, message in messages:
        assert (result.returncode, result.stdout) == (1, "")
        assert message in result.stderr
        assert "Traceback" not in result.stderr
