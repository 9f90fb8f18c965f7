"""While the database is away every door says so, and afterwards everything goes on."""

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

from tests.app import ANNA, App, SandboxClient, opened


@dataclass
class Deserted:
    """The product and a run of it, whose database lets nobody in until `let_in` is called."""

    app: App
    run_id: str
    let_in: Callable[[], object]


@pytest.fixture(scope="module")
def deserted(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[Deserted]:
    """For the tests of this module, one after the other."""
    with opened(postgres_server, migrated_template, sandbox_process, with_worker=False) as app:
        run_id, name = app.start(), conninfo_to_dict(app.dsn)["dbname"]
        with psycopg.connect(postgres_server, autocommit=True) as other:
            doors = f'alter database "{name}" allow_connections'
            other.execute(f"{doors} false")  # type: ignore[call-overload]
            other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
            yield Deserted(app, run_id, lambda: other.execute(f"{doors} true"))  # type: ignore[call-overload]
            other.execute(f"{doors} true")  # type: ignore[call-overload]


def test_every_door_says_so_in_its_own_shape(deserted: Deserted) -> None:
    """REST, OpenAI's chat completions, agents' tools, a link's page: 503 and when to try again, soon."""
    app, run_id = deserted.app, deserted.run_id
    headers = {"X-API-Key": ANNA, "Authorization": f"Bearer {ANNA}"}
    json, html = "application/json, text/event-stream", "text/html"
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    requests = [
        ("GET", f"/v1/runs/{run_id}", None, json),
        ("POST", "/v1/runs/start", {"project": "tiny", "brief": "Snow"}, json),
        ("POST", "/v1/chat/supervisor", {"message": "Hello"}, "application/json"),
        ("GET", "/v1/models", None, json),
        ("POST", "/mcp", call, json),
        ("GET", "/review/nobody", None, "application/json"),
        ("GET", "/review/nobody", None, html),
    ]

    def ask(request: tuple[str, str, object, str]) -> httpx.Response:
        method, path, body, accept = request
        how = {**headers, "Accept": accept}
        return httpx.request(method, f"{app.url}{path}", json=body, headers=how, timeout=30)

    with ThreadPoolExecutor(len(requests)) as callers:
        *answers, page = callers.map(ask, requests)

    assert [answer.status_code for answer in (*answers, page)] == [503] * len(requests)
    assert [answer.headers["Retry-After"] for answer in (*answers, page)] == ["5"] * len(requests)
    for answer in answers:
        error = answer.json()["error"]
        assert (error["code"], "try again" in error["message"]) == ("database_unavailable", True)
    assert answers[3].json()["error"]["type"] == "server_error"
    assert page.headers["content-type"].startswith("text/html")
    assert "database is away" in page.text
    assert httpx.get(f"{app.url}/health").json()["status"] == "healthy"


def test_a_stream_that_has_begun_ends_with_the_error(deserted: Deserted) -> None:
    """What is told as it goes tells that, too."""
    headers = {"X-API-Key": ANNA, "Accept": "text/event-stream"}
    with httpx.stream(
        "POST", f"{deserted.app.url}/v1/chat/supervisor", json={"message": "Hello"}, headers=headers, timeout=30
    ) as answer:
        told = answer.read().decode()

    assert json.loads(told.rpartition("data: ")[2])["error"]["code"] == "database_unavailable"


def test_and_afterwards_everything_goes_on(deserted: Deserted) -> None:
    """Within seconds, however long it was away."""
    client, back = deserted.app.client, time.monotonic()
    deserted.let_in()
    while (answer := client.get(f"/v1/runs/{deserted.run_id}")).status_code != 200:
        assert time.monotonic() < back + 8, answer.text
        time.sleep(0.2)

    assert time.monotonic() < back + 8
    assert answer.json()["status"] == "pending"
