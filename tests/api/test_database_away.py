"""While the database is away every door says so, and afterwards everything goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.world import ANNA, Sandbox, World, opened


@pytest.fixture(scope="module")
def deserted(postgres_server: str, migrated_template: str, sandbox_process: Sandbox) -> Iterator[tuple[World, str]]:
    """The product and a run of it; then its database lets nobody in, until the test is over."""
    with opened(postgres_server, migrated_template, sandbox_process, with_worker=False) as world:
        run_id, name = world.start(), conninfo_to_dict(world.dsn)["dbname"]
        with psycopg.connect(postgres_server, autocommit=True) as other:
            other.execute(f'alter database "{name}" allow_connections false')  # type: ignore[call-overload]
            other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
            yield world, run_id
            other.execute(f'alter database "{name}" allow_connections true')  # type: ignore[call-overload]
        world.until(run_id, "pending")


def test_every_door_says_so_in_its_own_shape(deserted: tuple[World, str]) -> None:
    """REST, OpenAI's chat completions, agents' tools, a link's page: 503 and when to try again, soon."""
    world, run_id = deserted
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
        return httpx.request(method, f"{world.url}{path}", json=body, headers=how, timeout=30)

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
    assert httpx.get(f"{world.url}/health").json()["status"] == "healthy"


def test_a_stream_that_has_begun_ends_with_the_error(deserted: tuple[World, str]) -> None:
    """What is told as it goes tells that, too."""
    world, _ = deserted
    headers = {"X-API-Key": ANNA, "Accept": "text/event-stream"}
    with httpx.stream(
        "POST", f"{world.url}/v1/chat/supervisor", json={"message": "Hello"}, headers=headers, timeout=30
    ) as answer:
        told = answer.read().decode()

    assert json.loads(told.rpartition("data: ")[2])["error"]["code"] == "database_unavailable"
