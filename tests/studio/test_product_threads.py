"""Studio shows the threads of the product's Postgres, and changes none."""

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
from tests.studio.conftest import ROOT, serving

SECONDS = 30
LOOK = "These threads may be looked at, and nothing else."


@pytest.fixture(scope="module")
def content(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that shows the world's threads."""
    folder = tmp_path_factory.mktemp("studio")
    with serving(folder, THREADS="product", DATABASE_URL=app.dsn, MYLOWARE_DATA_DIR=str(folder / "data")) as url:
        yield url


@pytest.fixture
def client(content: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=content, timeout=SECONDS) as client:
        yield client


def _listed(client: SyncLangGraphClient, **about: str) -> dict[str, Any]:
    """The newest thread of which the list says this, once it does."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for thread in client.threads.search(metadata=about, limit=1):
            return dict(thread)
        time.sleep(0.2)
    raise AssertionError(f"no thread is listed with {about}: {client.threads.search()}")


def _at_a_gate(app: App, brief: str) -> dict[str, Any]:
    return app.until(app.start(brief), "awaiting_ideation_approval")


def _everything(app: App, run_id: str) -> list[Any]:
    """What the database knows of a run, to the last byte."""
    tables = {"checkpoints": "thread_id", "checkpoint_blobs": "thread_id", "checkpoint_writes": "thread_id"}
    tables |= {"runs": "id", "orders": "run_id", "decisions": "run_id", "events": "run_id"}
    return [
        app.rows(f"select t::text from {table} t where {column}::text = %s order by 1", run_id)
        for table, column in tables.items()
    ]


@pytest.mark.slow
def test_a_run_is_shown_as_it_goes_on(app: App, client: SyncLangGraphClient) -> None:
    """Its question, its values and its whole history; and what is decided elsewhere, soon after."""
    run = _at_a_gate(app, "A lantern on a lake")
    run_id = run["run_id"]
    listed = _listed(client, brief="A lantern on a lake", status="awaiting_ideation_approval")
    state = client.threads.get_state(run_id)
    ((asked,),) = [task["interrupts"] for task in state["tasks"]]
    history = client.threads.get_history(run_id, limit=100)
    (kept,) = app.rows("select count(*) as n from checkpoints where thread_id = %s", run_id)
    app.decide(run_id, "ideation", approved=False)
    _listed(client, brief="A lantern on a lake", status="failed")

    assert (listed["thread_id"], listed["metadata"]["graph_id"]) == (run_id, "line")
    assert state["values"]["run"]["brief"] == "A lantern on a lake"
    assert (asked["value"]["gate"], asked["value"]["digest"]) == ("ideation", run["review"]["digest"])
    assert len(history) == kept["n"] > 2
    assert client.threads.get_state(run_id)["values"]["failure"]["code"] == "rejected"


@pytest.mark.slow
def test_a_talk_is_shown(app: App, client: SyncLangGraphClient) -> None:
    """With what was said in it."""
    said = app.client.post("/v1/chat/supervisor", json={"message": "What projects are there?"}).json()
    thread = _listed(client, session_id=said["session_id"])
    messages = client.threads.get_state(thread["thread_id"])["values"]["messages"]

    assert thread["metadata"]["graph_id"] == "supervisor"
    assert (messages[0]["content"], messages[-1]["content"]) == ("What projects are there?", said["response"])


@pytest.mark.slow
def test_nothing_can_be_changed(app: App, content: str, client: SyncLangGraphClient) -> None:
    """Every way to answer, run, edit, copy or delete is refused in one sentence, and the database stays as it was."""
    run_id = _at_a_gate(app, "A door in the dunes")["run_id"]
    _listed(client, brief="A door in the dunes")
    (asked,) = client.threads.get_state(run_id)["tasks"][0]["interrupts"]
    (assistant,) = client.assistants.search(graph_id="line")
    run = {"assistant_id": assistant["assistant_id"]}
    resume = {**run, "command": {"resume": {asked["id"]: True}}}
    values = {"failure": {"code": "mine", "message": "Mine."}}
    begun = {**run, "input": {"run": {"id": run_id, "project": "tiny", "brief": "Mine", "options": {}}}}
    before = _everything(app, run_id)
    changes: list[tuple[str, str, Any]] = [
        *(("POST", f"/threads/{run_id}/runs{how}", resume) for how in ("", "/wait", "/stream")),
        ("POST", f"/threads/{run_id}/runs/wait", begun),
        ("POST", f"/threads/{run_id}/runs/wait", {**run, "input": None}),
        ("POST", "/runs/wait", begun),
        ("POST", f"/threads/{run_id}/state", {"values": values}),
        ("PATCH", f"/threads/{run_id}", {"metadata": {"status": "completed"}}),
        ("POST", f"/threads/{run_id}/copy", None),
        ("POST", "/threads/prune", {"thread_ids": [run_id], "strategy": "delete"}),
        ("DELETE", f"/threads/{run_id}", None),
        ("POST", "/threads", {"supersteps": [{"updates": [{"values": values, "as_node": "supervisor"}]}]}),
        ("POST", "/assistants", {"graph_id": "line"}),
    ]
    answers = [httpx.request(method, f"{content}{path}", json=body, timeout=SECONDS) for method, path, body in changes]

    assert [(answer.status_code, answer.json()["detail"]) for answer in answers] == [(403, LOOK)] * len(changes)
    assert _everything(app, run_id) == before
    assert client.threads.get_state(run_id)["tasks"][0]["interrupts"] == [asked]


@pytest.mark.slow
def test_no_other_page_reads_along(content: str) -> None:
    """Studio's page may ask from a browser; whatever other page is open there may not."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = [
        httpx.options(f"{content}/threads/search", headers={"Origin": origin, **asked}).headers.get(
            "access-control-allow-origin"
        )
        for origin in ("https://smith.langchain.com", "https://evil.example")
    ]

    assert allowed == ["https://smith.langchain.com", None]


def _list(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What the program beside Studio's server says where it cannot begin."""
    return subprocess.run(
        [sys.executable, "-m", "cli.studio", "http://127.0.0.1:9"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_where_nothing_was_run_there_is_nothing_to_show(tmp_path: Path, postgres_server: str) -> None:
    """One sentence, and no table is made; the same where there is no database at all."""
    empty = _list(tmp_path, DATABASE_URL=postgres_server)
    away = _list(tmp_path, DATABASE_URL="postgresql://127.0.0.1:9/none")
    with psycopg.connect(postgres_server) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()

    assert tables == (0,)
    for result, said in ((empty, "There are no threads to show"), (away, "DATABASE_URL: The database cannot be")):
        assert (result.returncode, result.stdout) == (1, "")
        assert said in result.stderr
        assert "Traceback" not in result.stderr
