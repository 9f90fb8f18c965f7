"""While the database is unavailable every entry point reports it; afterwards requests succeed again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.app import ANNA, App, SandboxClient, open_app


@dataclass
class Outage:
    """An app with a run, whose database refuses connections until `end` is called."""

    app: App
    run_id: str
    end: Callable[[], object]


@pytest.fixture(scope="module")
def outage(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[Outage]:
    """One outage for the tests of this module, in their order."""
    with open_app(postgres_server, migrated_template, sandbox_process, with_worker=False) as app:
        run_id, name = app.start(), conninfo_to_dict(app.dsn)["dbname"]
        with psycopg.connect(postgres_server, autocommit=True) as other:
            statement = f'alter database "{name}" allow_connections'
            other.execute(f"{statement} false")  # type: ignore[call-overload]
            other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
            yield Outage(app, run_id, lambda: other.execute(f"{statement} true"))  # type: ignore[call-overload]
            other.execute(f"{statement} true")  # type: ignore[call-overload]


@pytest.mark.slow
def test_every_entry_point_answers_503_in_its_own_format(outage: Outage) -> None:
    """REST, OpenAI's chat completions, MCP and the review page answer 503 with `Retry-After`."""
    app, run_id = outage.app, outage.run_id
    headers = {"X-API-Key": ANNA, "Authorization": f"Bearer {ANNA}"}
    json, html = "application/json, text/event-stream", "text/html"
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    requests = [
        ("GET", f"/v1/runs/{run_id}", None, json),
        ("POST", "/v1/runs/start", {"project": "tiny", "brief": "Snow"}, json),
        ("POST", "/v1/chat/supervisor", {"message": "Hello"}, "application/json"),
        ("GET", "/v1/models", None, json),
        ("POST", "/mcp", call, json),
        ("GET", "/review/unknown", None, "application/json"),
        ("GET", "/review/unknown", None, html),
    ]

    def send(request: tuple[str, str, object, str]) -> httpx.Response:
        method, path, body, accept = request
        all_headers = {**headers, "Accept": accept}
        return httpx.request(method, f"{app.url}{path}", json=body, headers=all_headers, timeout=30)

    with ThreadPoolExecutor(len(requests)) as callers:
        *answers, page = callers.map(send, requests)

    assert [answer.status_code for answer in (*answers, page)] == [503] * len(requests)
    assert [answer.headers["Retry-After"] for answer in (*answers, page)] == ["5"] * len(requests)
    for answer in answers:
        error = answer.json()["error"]
        assert (error["code"], "retry" in error["message"]) == ("database_unavailable", True)
    assert answers[3].json()["error"]["type"] == "server_error"
    assert page.headers["content-type"].startswith("text/html")
    assert "Database unavailable" in page.text
    assert httpx.get(f"{app.url}/health").json()["status"] == "healthy"


@pytest.mark.slow
def test_a_started_stream_ends_with_the_error(outage: Outage) -> None:
    """The last event of a chat stream is the error."""
    headers = {"X-API-Key": ANNA, "Accept": "text/event-stream"}
    with httpx.stream(
        "POST", f"{outage.app.url}/v1/chat/supervisor", json={"message": "Hello"}, headers=headers, timeout=30
    ) as answer:
        events = answer.read().decode()

    assert json.loads(events.rpartition("data: ")[2])["error"]["code"] == "database_unavailable"


def test_requests_succeed_after_the_outage(outage: Outage) -> None:
    """They succeed within seconds, however long the outage was."""
    client, ended_at = outage.app.client, time.monotonic()
    outage.end()
    while (answer := client.get(f"/v1/runs/{outage.run_id}")).status_code != 200:
        assert time.monotonic() < ended_at + 8, answer.text
        time.sleep(0.2)

    assert time.monotonic() < ended_at + 8
    assert answer.json()["status"] == "pending"
