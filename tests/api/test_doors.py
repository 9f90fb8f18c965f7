"""The doors: who may enter, what they refuse and how, and what they answer to the same request again."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.app import create_app
from tests.app import ANNA, BEN, App

NOBODY = "00000000-0000-0000-0000-000000000000"
START = {"project": "tiny", "brief": "Rain"}

CLOSED = [
    ("POST", "/v1/runs/start"),
    ("GET", "/v1/runs"),
    ("GET", f"/v1/runs/{NOBODY}"),
    ("GET", f"/v1/runs/{NOBODY}/events"),
    ("POST", f"/v1/runs/{NOBODY}/approve"),
    ("POST", f"/v1/runs/{NOBODY}/cancel"),
    ("POST", f"/v1/runs/{NOBODY}/retry"),
    ("GET", f"/v1/artifacts/{'0' * 64}"),
    ("POST", "/v1/chat/supervisor"),
]


@pytest.fixture
def client(quiet_app: App) -> httpx.Client:
    return quiet_app.client


@pytest.fixture
def stranger(quiet_app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=quiet_app.url) as client:
        yield client


def shaped(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The details of an error that has our shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == code
    assert error["message"].endswith(".")
    assert answer.headers["x-request-id"]
    details: dict[str, Any] = error["details"]
    return details


def test_health_needs_no_key(stranger: httpx.Client) -> None:
    """As the reference shows it."""
    answer = stranger.get("/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "version": "0.1.0"})


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_everything_else_asks_for_a_key(stranger: httpx.Client, method: str, path: str) -> None:
    """Without one, and with a wrong one, in one shape; and the body does not matter."""
    shaped(stranger.request(method, path), 401, "missing_api_key")
    for wrong in (b"wrong", ANNA[:-1].encode(), "schlüssel".encode(), b"x" * 5000):
        shaped(stranger.request(method, path, headers={"X-API-Key": wrong}), 401, "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"/v1/runs/{NOBODY}", 404, "run_not_found"),
        ("GET", f"/v1/runs/{NOBODY}/events", 404, "run_not_found"),
        ("POST", f"/v1/runs/{NOBODY}/cancel", 404, "run_not_found"),
        ("POST", f"/v1/runs/{NOBODY}/retry", 404, "run_not_found"),
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
        ("GET", f"/v1/runs/{NOBODY}/events?after=-1", 422, "invalid_request"),
    ],
)
def test_what_is_not_there(client: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    """One shape for every error."""
    shaped(client.request(method, path), status, code)


def test_an_unknown_project_names_those_there_are(client: httpx.Client) -> None:
    """404, so that a typing error is found at once."""
    details = shaped(client.post("/v1/runs/start", json={**START, "project": "aism"}), 404, "project_not_found")

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
def test_a_start_that_makes_no_sense(client: httpx.Client, body: Any, field: str) -> None:
    """422 with the path of the field; nothing is started."""
    before = client.get("/v1/runs").json()
    details = shaped(client.post("/v1/runs/start", json=body), 422, "invalid_request")

    assert list(details["fields"]) == [field]
    assert client.get("/v1/runs").json() == before


HOSTILE = [
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


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: str(body[:60]))
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_hostile_bodies_are_refused(client: httpx.Client, body: bytes, kind: str) -> None:
    """Never a 500, and never an answer that repeats what was sent."""
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
def test_hostile_text_at_the_other_doors(quiet_app: App, path: str, body: bytes, key: str | None) -> None:
    """Never a 500, with an Idempotency-Key or without."""
    run_id = quiet_app.start()
    url = "/v1/chat/supervisor" if path == "chat" else f"/v1/runs/{run_id}/approve"
    headers = {"content-type": "application/json", **({"Idempotency-Key": f"{key}-{uuid4()}"} if key else {})}
    answer = quiet_app.client.post(url, content=body, headers=headers)

    assert answer.status_code in (400, 409, 422), answer.text


@pytest.mark.parametrize("path", ["/v1/runs/start", f"/v1/runs/{NOBODY}/approve", "/v1/chat/supervisor"])
def test_a_body_over_the_limit(client: httpx.Client, path: str) -> None:
    """413, whether its length was declared or not."""
    body = json.dumps({**START, "brief": "x" * 300_000}).encode()

    def in_pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = {"content-type": "application/json"}
    shaped(client.post(path, content=body, headers=headers), 413, "body_too_large")
    shaped(client.post(path, content=in_pieces(), headers=headers), 413, "body_too_large")


def test_every_answer_has_a_request_id(client: httpx.Client, stranger: httpx.Client) -> None:
    """The client's own, if it is a plain one."""
    assert stranger.get("/health", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    odd = stranger.get("/health", headers={"X-Request-ID": "a b<script>"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", odd)
    assert client.get("/nowhere").headers["x-request-id"]


async def test_what_breaks_inside_is_told_in_our_shape(caplog: pytest.LogCaptureFixture) -> None:
    """A 500 without a trace of what broke, with the id under which it stands in the log, and no secret there."""

    @asynccontextmanager
    async def broken() -> Any:
        yield object()  # nothing that is behind the doors is there

    app = create_app(broken)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.get("/v1/runs", headers={"X-API-Key": "x"})
            film = await client.get("/review/the-secret-of-a-link/film")

    shaped(answer, 500, "internal_error")
    assert film.status_code == 500
    assert f"GET /review/{{token}}/film broke (request {film.headers['x-request-id']})" in caplog.text
    assert "the-secret-of-a-link" not in "".join(r.getMessage() for r in caplog.records if r.name == "api.errors")
    assert "object" not in answer.text
    assert "Traceback" not in answer.text


def test_the_same_key_gets_the_same_answer(quiet_app: App) -> None:
    """One run for one Idempotency-Key and body; another body is refused; another caller's key is another key."""
    client, key = quiet_app.client, {"Idempotency-Key": str(uuid4())}
    first = client.post("/v1/runs/start", json=START, headers=key)
    again = client.post("/v1/runs/start", json=START, headers=key)
    other = client.post("/v1/runs/start", json={**START, "brief": "Snow"}, headers=key)
    of_ben = client.post("/v1/runs/start", json=START, headers={**key, "X-API-Key": BEN})

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    shaped(other, 409, "idempotency_key_reused")
    assert of_ben.json()["run_id"] != first.json()["run_id"]
    url = f"/v1/runs/{first.json()['run_id']}/cancel"
    shaped(client.post(url, headers=key), 409, "idempotency_key_reused")
    cancel = {"Idempotency-Key": str(uuid4())}
    answers = [client.post(url, headers=cancel) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü"])
def test_an_idempotency_key_that_is_none(client: httpx.Client, key: str) -> None:
    """It is refused: taking it for none would start a run twice."""
    answer = client.post("/v1/runs/start", json=START, headers={"Idempotency-Key": key.encode()})

    shaped(answer, 422, "invalid_request")


def test_a_refusal_can_be_corrected_under_the_same_key(client: httpx.Client) -> None:
    """Only answers that changed something are kept."""
    key = {"Idempotency-Key": str(uuid4())}
    shaped(client.post("/v1/runs/start", json={**START, "project": "none"}, headers=key), 404, "project_not_found")

    assert client.post("/v1/runs/start", json=START, headers=key).status_code == 200


async def test_ten_at_once_start_one_run(quiet_app: App) -> None:
    """The same request ten times at the same moment."""
    body, key = {**START, "brief": f"Rain {uuid4()}"}, {"Idempotency-Key": str(uuid4()), "X-API-Key": ANNA}
    async with httpx.AsyncClient(base_url=quiet_app.url, headers=key, timeout=30) as client:
        answers = await asyncio.gather(*(client.post("/v1/runs/start", json=body) for _ in range(10)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    assert len(quiet_app.rows("select 1 from runs where brief = %s", body["brief"])) == 1


def test_runs_are_listed_newest_first_in_pages(quiet_app: App) -> None:
    """A cursor goes on where the page ended; filters hold across pages."""
    made = [quiet_app.start(project=project, metadata={"n": "ä"}) for project in ("tiny", "pair", "tiny", "pair")]
    client = quiet_app.client
    newest = client.get("/v1/runs", params={"limit": 3}).json()

    assert [run["run_id"] for run in newest["runs"]] == made[:0:-1]
    older = client.get("/v1/runs", params={"limit": 3, "cursor": newest["next_cursor"]}).json()
    assert older["runs"][0]["run_id"] == made[0]
    pairs, cursor = [], None
    while True:
        page = client.get(
            "/v1/runs", params={"limit": 1, "project": "pair", **({"cursor": cursor} if cursor else {})}
        ).json()
        pairs += [run["run_id"] for run in page["runs"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert pairs == [made[3], made[1]]
    assert client.get("/v1/runs", params={"status": "completed"}).json() == {"runs": [], "next_cursor": None}
    assert newest["runs"][0]["metadata"] == {"n": "ä"}
    assert {run["status"] for run in newest["runs"]} == {"pending"}
