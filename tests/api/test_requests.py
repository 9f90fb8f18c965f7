"""Requests: authentication, error responses, validation, body limit and idempotency."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.app import create_app
from tests.app import ANNA, BEN, App, SandboxClient, open_app
from tests.openapi import check_response

UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"
START = {"project": "tiny", "brief": "Rain"}

PROTECTED = [
    ("POST", "/v1/runs/start"),
    ("GET", "/v1/runs"),
    ("GET", f"/v1/runs/{UNKNOWN_ID}"),
    ("GET", f"/v1/runs/{UNKNOWN_ID}/events"),
    ("POST", f"/v1/runs/{UNKNOWN_ID}/approve"),
    ("POST", f"/v1/runs/{UNKNOWN_ID}/cancel"),
    ("POST", f"/v1/runs/{UNKNOWN_ID}/retry"),
    ("GET", f"/v1/artifacts/{'0' * 64}"),
    ("POST", "/v1/chat/supervisor"),
]


@pytest.fixture
def client(quiet_app: App) -> httpx.Client:
    return quiet_app.client


@pytest.fixture
def anonymous(quiet_app: App) -> Iterator[httpx.Client]:
    """A client without an API key."""
    with httpx.Client(base_url=quiet_app.url, event_hooks={"response": [check_response]}) as client:
        yield client


def error_details(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the common shape of an error and return its details."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == code
    assert error["message"].endswith(".")
    assert answer.headers["x-request-id"]
    details: dict[str, Any] = error["details"]
    return details


def test_health_needs_no_key(anonymous: httpx.Client) -> None:
    """The response is that of the API reference."""
    answer = anonymous.get("/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "version": "0.2.0"})


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_every_other_path_requires_a_key(anonymous: httpx.Client, method: str, path: str) -> None:
    """A missing and a wrong key are refused before the body is checked."""
    error_details(anonymous.request(method, path), 401, "missing_api_key")
    for wrong in (b"wrong", ANNA[:-1].encode(), "schlüssel".encode(), b"x" * 5000):
        error_details(anonymous.request(method, path, headers={"X-API-Key": wrong}), 401, "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"/v1/runs/{UNKNOWN_ID}", 404, "run_not_found"),
        ("GET", f"/v1/runs/{UNKNOWN_ID}/events", 404, "run_not_found"),
        ("POST", f"/v1/runs/{UNKNOWN_ID}/cancel", 404, "run_not_found"),
        ("POST", f"/v1/runs/{UNKNOWN_ID}/retry", 404, "run_not_found"),
        ("GET", f"/v1/artifacts/{'0' * 64}", 404, "artifact_not_found"),
        ("GET", "/v1/artifacts/../../etc/passwd", 404, "not_found"),
        ("GET", f"/v1/artifacts/{'A' * 64}", 422, "invalid_request"),
        ("GET", "/v1/runs/not-an-id", 404, "not_found"),
        ("GET", "/v1/runs/start", 405, "method_not_allowed"),
        ("DELETE", "/v1/runs", 405, "method_not_allowed"),
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/runs?limit=0", 422, "invalid_request"),
        ("GET", "/v1/runs?limit=101", 422, "invalid_request"),
        ("GET", "/v1/runs?status=done", 422, "invalid_request"),
        ("GET", "/v1/runs?project=A", 422, "invalid_request"),
        ("GET", "/v1/runs?cursor=x", 422, "invalid_cursor"),
        ("GET", "/v1/runs?cursor=MjAyNi0wMS0wMXxu", 422, "invalid_cursor"),
        ("GET", f"/v1/runs/{UNKNOWN_ID}/events?after=-1", 422, "invalid_request"),
    ],
)
def test_unknown_paths_and_invalid_parameters(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    """Every error has the common shape."""
    error_details(client.request(method, path), status, code)


def test_an_unknown_project_is_answered_with_the_known_ones(client: httpx.Client) -> None:
    """The 404 lists the projects, so that a misspelt name is found at once."""
    details = error_details(client.post("/v1/runs/start", json={**START, "project": "aism"}), 404, "project_not_found")

    assert details == {"projects": ["aismr", "four", "pair", "shorts", "tiny"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"brief": "Rain"}, "body.project"),
        ({"project": "tiny"}, "body.brief"),
        ({**START, "brief": ""}, "body.brief"),
        ({**START, "brief": " \n "}, "body.brief"),
        ({**START, "brief": "x" * 10_001}, "body.brief"),
        ({**START, "brief": "a\x00b"}, "body.brief"),
        ({**START, "brief": 5}, "body.brief"),
        ({**START, "brief": None}, "body.brief"),
        ({**START, "project": "../etc"}, "body.project"),
        ({**START, "project": "x" * 65}, "body.project"),
        ({**START, "project": "tiny\n"}, "body.project"),
        ({**START, "surprise": 1}, "body.surprise"),
        ({**START, "budget_usd": -1}, "body.budget_usd"),
        ({**START, "budget_usd": "many"}, "body.budget_usd"),
        ({**START, "budget_usd": 1e300}, "body.budget_usd"),
        ({**START, "options": {"clips": 99}}, "body.options"),
        ({**START, "options": {"clips": 0}}, "body.options"),
        ({**START, "options": {"clips": 10**30}}, "body.options.clips"),
        ({**START, "options": {"surprise": 1}}, "body.options"),
        ({**START, "metadata": {"a": 1}}, "body.metadata.a"),
        ({**START, "metadata": {"a": "x" * 501}}, "body.metadata.a"),
        ({**START, "metadata": {"a": "\x00"}}, "body.metadata.a"),
        ([], "body"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_invalid_start_request_is_refused(client: httpx.Client, body: Any, field: str) -> None:
    """The 422 names the path of the field, and nothing is started."""
    before = client.get("/v1/runs").json()
    details = error_details(client.post("/v1/runs/start", json=body), 422, "invalid_request")

    assert list(details["fields"]) == [field]
    assert client.get("/v1/runs").json() == before


MALFORMED = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b'{"project": "tiny", "brief": "\\ud800"}',
    b'{"project": "\\ud800", "brief": "x"}',
    b'{"project": "tiny", "brief": "x", "\\ud800": 1}',
    b'{"project": "tiny", "brief": "\\u0000"}',
    b'{"project": "tiny", "brief": "x", "metadata": {"\\ud800": "x"}}',
    b'{"project": "tiny", "brief": "x", "metadata": {"\\u0000": "x"}}',
    b'{"project": "tiny", "brief": "x", "metadata": {"a": "\\udfff"}}',
    b'{"project": "tiny", "brief": "x", "options": {"\\ud800": 1}}',
    b'{"project": "tiny", "brief": "x", "options": {"clips": 1e400}}',
    b'{"project": "tiny", "brief": "x", "budget_usd": 1e400}',
    b'{"project": "tiny", "brief": "x", "budget_usd": NaN}',
    b'{"project": "tiny", "brief": "x", "budget_usd": "Infinity"}',
    b'{"project": "tiny", "brief": "x", "budget_usd": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b'{"project": "tiny", "brief": "x", "metadata": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: str(body[:60]))
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_malformed_bodies_are_refused(client: httpx.Client, body: bytes, kind: str) -> None:
    """They never cause a 500, and the response never repeats the body."""
    answer = client.post("/v1/runs/start", content=body, headers={"content-type": kind})

    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] in ("invalid_request", "bad_request")
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("approve", b'{"gate": "ideation", "approved": false, "comment": "\\ud800"}'),
        ("approve", b'{"gate": "ideation", "approved": true, "digest": "\\ud800"}'),
        ("approve", b'{"gate": "ideation", "approved": true, "edits": [{"title": "\\ud800"}]}'),
        ("approve", b'{"gate": "ideation", "approved": true, "edits": [{"\\u0000": "\\ud800"}]}'),
        ("approve", b'{"gate": "ideation", "approved": true, "edits": [{"title": NaN}]}'),
        (
            "approve",
            b'{"gate": "ideation", "approved": true, "edits":'
            b' [{"title": "\\ud800", "scene": "x\\u0000", "sound": "x", "overlay": ""}]}',
        ),
        ("approve", b'{"gate": "ideation", "approved": true, "edits": ' + b"[{" * 1 + b'"a":' + b"[" * 20_000),
        ("chat", b'{"message": "\\ud800"}'),
        ("chat", b'{"message": "\\u0000"}'),
        ("chat", b'{"message": "hello", "session_id": "\\u0000"}'),
    ],
    ids=str,
)
@pytest.mark.parametrize("key", [None, "same-again"])
def test_text_that_cannot_be_stored_is_refused(quiet_app: App, path: str, body: bytes, key: str | None) -> None:
    """It never causes a 500, with or without an Idempotency-Key."""
    run_id = quiet_app.start()
    url = "/v1/chat/supervisor" if path == "chat" else f"/v1/runs/{run_id}/approve"
    headers = {"content-type": "application/json", **({"Idempotency-Key": f"{key}-{uuid4()}"} if key else {})}
    answer = quiet_app.client.post(url, content=body, headers=headers)

    assert answer.status_code in (400, 409, 422), answer.text


@pytest.mark.parametrize(
    ("path", "size"),
    [("/v1/runs/start", 300_000), (f"/v1/runs/{UNKNOWN_ID}/approve", 300_000), ("/v1/chat/supervisor", 4_300_000)],
)
def test_a_body_over_the_limit_is_refused(client: httpx.Client, path: str, size: int) -> None:
    """The response is 413, whether the length was declared or not."""
    body = json.dumps({**START, "brief": "x" * size}).encode()

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"content-type": "application/json"}
    error_details(client.post(path, content=body, headers=headers), 413, "body_too_large")
    error_details(client.post(path, content=chunks(), headers=headers), 413, "body_too_large")


def test_every_response_has_a_request_id(client: httpx.Client, anonymous: httpx.Client) -> None:
    """It is the id that the client sent, if that is valid."""
    assert anonymous.get("/health", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    odd = anonymous.get("/health", headers={"X-Request-ID": "a b<script>"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", odd)
    assert client.get("/nowhere").headers["x-request-id"]


class BrokenDatabase:
    """A database that holds the secret which the MCP endpoint reads at start-up, and nothing else."""

    async def insert(self, table: str, _values: object) -> None:
        assert table == "secrets"

    async def fetch_all(self, query: str, _params: object) -> list[dict[str, bytes]]:
        assert "from secrets" in query
        return [{"value": b"0" * 32}]


async def test_an_unexpected_error_reveals_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The 500 has the common shape and the request id of the log line, which contains no secret of the path."""
    settings = SimpleNamespace(host_names={"here"})
    state: Any = SimpleNamespace(services=SimpleNamespace(db=BrokenDatabase()), settings=settings)
    app = create_app(state)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.get("/v1/runs", headers={"X-API-Key": "x"})
            film = await client.get("/review/secret-token/film")

    error_details(answer, 500, "internal_error")
    assert film.status_code == 500
    assert f"GET /review/{{token}}/film failed (request {film.headers['x-request-id']})" in caplog.text
    assert "secret-token" not in "".join(r.getMessage() for r in caplog.records if r.name == "api.errors")
    assert "BrokenDatabase" not in answer.text
    assert "Traceback" not in answer.text


def test_a_repeated_request_gets_the_same_response(quiet_app: App) -> None:
    """An Idempotency-Key and body start one run; another body is refused; keys of other callers are independent."""
    client, key = quiet_app.client, {"Idempotency-Key": str(uuid4())}
    first = client.post("/v1/runs/start", json=START, headers=key)
    again = client.post("/v1/runs/start", json=START, headers=key)
    other = client.post("/v1/runs/start", json={**START, "brief": "Snow"}, headers=key)
    of_ben = client.post("/v1/runs/start", json=START, headers={**key, "X-API-Key": BEN})

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    error_details(other, 409, "idempotency_key_reused")
    assert of_ben.json()["run_id"] != first.json()["run_id"]
    url = f"/v1/runs/{first.json()['run_id']}/cancel"
    error_details(client.post(url, headers=key), 409, "idempotency_key_reused")
    cancel = {"Idempotency-Key": str(uuid4())}
    answers = [client.post(url, headers=cancel) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü"])
def test_an_invalid_idempotency_key_is_refused(client: httpx.Client, key: str) -> None:
    """Ignoring it would start a run twice."""
    answer = client.post("/v1/runs/start", json=START, headers={"Idempotency-Key": key.encode()})

    error_details(answer, 422, "invalid_request")


def test_a_refused_request_can_be_corrected_under_the_same_key(client: httpx.Client) -> None:
    """Only successful responses are stored."""
    key = {"Idempotency-Key": str(uuid4())}
    error_details(
        client.post("/v1/runs/start", json={**START, "project": "none"}, headers=key), 404, "project_not_found"
    )

    assert client.post("/v1/runs/start", json=START, headers=key).status_code == 200


async def test_ten_concurrent_requests_start_one_run(quiet_app: App) -> None:
    """The same request, sent ten times at once, has one effect."""
    body, key = {**START, "brief": f"Rain {uuid4()}"}, {"Idempotency-Key": str(uuid4()), "X-API-Key": ANNA}
    async with httpx.AsyncClient(base_url=quiet_app.url, headers=key, timeout=30) as client:
        answers = await asyncio.gather(*(client.post("/v1/runs/start", json=body) for _ in range(10)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    assert len(quiet_app.rows("select 1 from runs where brief = %s", body["brief"])) == 1


def test_runs_are_listed_newest_first_in_pages(quiet_app: App) -> None:
    """A cursor continues after the page; filters apply to every page."""
    started = [quiet_app.start(project=project, metadata={"n": "ä"}) for project in ("tiny", "pair", "tiny", "pair")]
    client = quiet_app.client
    newest = client.get("/v1/runs", params={"limit": 3}).json()

    assert [run["run_id"] for run in newest["runs"]] == started[:0:-1]
    older = client.get("/v1/runs", params={"limit": 3, "cursor": newest["next_cursor"]}).json()
    assert older["runs"][0]["run_id"] == started[0]
    pairs, cursor = [], None
    while True:
        page = client.get(
            "/v1/runs", params={"limit": 1, "project": "pair", **({"cursor": cursor} if cursor else {})}
        ).json()
        pairs += [run["run_id"] for run in page["runs"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert pairs == [started[3], started[1]]
    assert client.get("/v1/runs", params={"status": "completed"}).json() == {"runs": [], "next_cursor": None}
    assert newest["runs"][0]["metadata"] == {"n": "ä"}
    assert {run["status"] for run in newest["runs"]} == {"pending"}


def test_pages_of_named_origins_can_send_requests(
    postgres_server: str, migrated_template: str, sandbox_process: SandboxClient
) -> None:
    """Their preflights are answered, and errors can be read; a page of any other origin gets no permission."""
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    origins = ["https://chat.example.com", "http://localhost:3000"]
    with open_app(
        postgres_server, migrated_template, sandbox_process, with_worker=False, cors_origins=origins
    ) as opened:
        for origin in (*origins, "https://elsewhere.example"):
            named = {"Origin": origin}
            answers = [
                httpx.options(f"{opened.url}/v1/chat/completions", headers={**named, **preflight}),
                httpx.get(f"{opened.url}/v1/models", headers=named),
            ]
            allowed = [answer.headers.get("access-control-allow-origin") for answer in answers]

            assert allowed == ([origin] * 2 if origin in origins else [None] * 2)
            assert [answer.headers.get("access-control-allow-credentials") for answer in answers] == [None] * 2
            assert answers[0].status_code == (200 if origin in origins else 400)
            assert answers[1].status_code == 401


def test_without_origins_no_page_of_another_site_is_permitted(quiet_app: App) -> None:
    """The default."""
    answer = httpx.get(f"{quiet_app.url}/health", headers={"Origin": "https://chat.example.com"})
    assert "access-control-allow-origin" not in answer.headers
