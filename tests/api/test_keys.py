"""API keys over HTTP: rights, rotation, ends, and the headers that carry a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from storage import api_keys
from storage.actors import Right
from tests.app import ANNA, BEN, App


def add_key(app: App, name: str, can: Right) -> tuple[str, str]:
    """Add a key and return it with its id."""
    added = app.in_loop(api_keys.add_key(app.state.services.db, name, can))
    assert added is not None
    return added[0], added[1].id


@pytest.fixture(scope="module")
def admin(quiet_app: App) -> Iterator[httpx.Client]:
    """A client with the key of an administrator."""
    with quiet_app.client_of(add_key(quiet_app, "boss", "admin")[0]) as client:
        yield client


@pytest.fixture
def client_of(quiet_app: App) -> Iterator[Callable[[str], httpx.Client]]:
    """A function that returns a client with a key."""
    with ExitStack() as stack:
        yield lambda key: stack.enter_context(quiet_app.client_of(key))


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def test_keys_are_rotated_without_a_gap(client_of: Callable[[str], httpx.Client], admin: httpx.Client) -> None:
    """Two keys are valid at once; the first is revoked while it is used, and the second goes on."""
    first = admin.post("/v1/keys", json={"name": "web-1", "can": "start"}).json()
    old = client_of(first["key"])
    run = {"project": "tiny", "brief": "Rain"}
    assert old.post("/v1/runs/start", json=run).status_code == 200
    second = admin.post("/v1/keys", json={"name": "web-2", "can": "start"}).json()
    new = client_of(second["key"])
    assert [client.get("/v1/runs").status_code for client in (old, new)] == [200, 200]

    revoked = admin.delete(f"/v1/keys/{first['id']}").json()
    status, code, message = refusal(old.post("/v1/runs/start", json=run))
    started = new.post("/v1/runs/start", json=run)

    assert (status, code) == (401, "invalid_api_key")
    assert message.startswith("The API key “web-1” was revoked on ")
    assert started.status_code == 200
    history = new.get(f"/v1/runs/{started.json()['run_id']}/history").json()
    assert history["entries"][0]["actor"] == {"kind": "api_key", "id": second["id"], "name": "web-2"}
    listed = {key["name"]: key for key in admin.get("/v1/keys").json()["keys"]}
    assert listed["web-1"] == revoked
    assert (listed["web-2"]["revoked_at"], listed["web-2"]["last_used_at"] is None) == (None, False)


def test_the_stream_of_a_revoked_key_ends(
    quiet_app: App, client_of: Callable[[str], httpx.Client], admin: httpx.Client
) -> None:
    """It was opened with a valid key, and is sent no event after the revocation."""
    run_id = quiet_app.start("Rain on tin")
    key, key_id = add_key(quiet_app, "watcher", "start")
    with client_of(key).stream("GET", f"/v1/runs/{run_id}/events", headers={"Accept": "text/event-stream"}) as stream:
        lines = stream.iter_lines()
        while not next(lines).startswith("event: run.started"):
            pass
        admin.delete(f"/v1/keys/{key_id}")
        quiet_app.client.post(f"/v1/runs/{run_id}/cancel")
        rest = list(lines)

    assert [line for line in rest if line.startswith("event: ")] == []


def test_an_expired_key_is_refused(
    quiet_app: App, client_of: Callable[[str], httpx.Client], admin: httpx.Client
) -> None:
    """The 401 says which key expired, and when."""
    ends = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    key = admin.post("/v1/keys", json={"name": "guest", "can": "approve", "expires_at": ends}).json()
    client = client_of(key["key"])
    assert client.get("/v1/runs").status_code == 200
    quiet_app.rows("update api_keys set expires_at = now() - interval '1 day' where name = 'guest' returning 1")

    status, code, message = refusal(client.get("/v1/runs"))
    assert (status, code) == (401, "invalid_api_key")
    assert message.startswith("The API key “guest” expired on ")
    past = admin.post("/v1/keys", json={"name": "late", "can": "start", "expires_at": "2026-01-01T00:00:00Z"})
    assert refusal(past)[:2] == (422, "invalid_request")


def test_only_an_admin_manages_keys(quiet_app: App, admin: httpx.Client) -> None:
    """The keys of the settings can approve and are no admins, so a leaked one cannot add others."""
    for method, path, body in (
        ("GET", "/v1/keys", None),
        ("POST", "/v1/keys", {"name": "mine", "can": "admin"}),
        ("DELETE", "/v1/keys/boss", None),
    ):
        assert refusal(quiet_app.client.request(method, path, json=body))[:2] == (403, "admin_required")
    assert refusal(admin.delete("/v1/keys/none"))[:2] == (404, "key_not_found")
    names = [key["name"] for key in admin.get("/v1/keys").json()["keys"]]
    assert names[:3] == ["settings key 1", "settings key 2", "boss"]


def test_the_last_admin_key_stays(quiet_app: App, admin: httpx.Client) -> None:
    """It is not revoked over HTTP, by name or id, so that keys can be managed; the operator can revoke it."""
    own = next(key for key in admin.get("/v1/keys").json()["keys"] if key["name"] == "boss")
    for name in ("boss", own["id"]):
        assert refusal(admin.delete(f"/v1/keys/{name}"))[:2] == (409, "last_admin_key")
    second = admin.post("/v1/keys", json={"name": "deputy", "can": "admin"}).json()
    assert admin.delete("/v1/keys/deputy").status_code == 200
    assert refusal(admin.delete(f"/v1/keys/{own['id']}"))[1] == "last_admin_key"
    assert admin.delete(f"/v1/keys/{second['id']}").status_code == 200


def test_the_log_knows_who_added_and_revoked(quiet_app: App, admin: httpx.Client) -> None:
    """Both are events with their actor, which the list names."""
    added = admin.post("/v1/keys", json={"name": "logged", "can": "start"}).json()
    revoked = [admin.delete(f"/v1/keys/{added['id']}").json() for _ in range(2)]

    assert (added["added_by"], added["revoked_by"]) == ("boss", None)
    assert [(each["added_by"], each["revoked_by"]) for each in revoked] == [("boss", "boss")] * 2
    events = quiet_app.rows("select kind, source, payload from events where subject = %s order by id", added["id"])
    assert [event["kind"] for event in events] == ["key.added", "key.revoked"]
    assert events[0]["payload"]["actor"]["name"] == "boss"
    assert added["key"] not in str(events)


def test_a_repeated_request_adds_one_key_and_stores_none(quiet_app: App, admin: httpx.Client) -> None:
    """The key is in the first response only; a name is taken until its key is revoked."""
    body, header = {"name": "twice", "can": "start"}, {"Idempotency-Key": "add-twice"}
    first, second = (admin.post("/v1/keys", json=body, headers=header).json() for _ in range(2))

    assert second == {**first, "key": None}
    assert refusal(admin.post("/v1/keys", json=body))[:2] == (409, "key_name_taken")
    stored = quiet_app.rows("select body::text from idempotency_records where idempotency_key = 'add-twice'")
    assert first["key"] not in str(stored)


@pytest.mark.parametrize("name", ["", "two words", "-x", "x" * 65, "a\n"])
def test_invalid_names_are_refused(admin: httpx.Client, name: str) -> None:
    """A name is one word, so that it differs from those of the settings."""
    assert refusal(admin.post("/v1/keys", json={"name": name, "can": "start"}))[:2] == (422, "invalid_request")


CALLS = {
    "REST": ("GET", "/v1/runs", {}, 200),
    "start": ("POST", "/v1/runs/start", {"json": {"project": "tiny", "brief": "Rain"}}, 200),
    "chat client": ("GET", "/v1/models", {}, 200),
    "artifact": ("GET", f"/v1/artifacts/{'0' * 64}", {}, 404),
    "MCP": ("POST", "/mcp", {"json": {}}, 400),
}


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_bearer_token_works_wherever_the_header_does(quiet_app: App, call: str) -> None:
    """Both headers with one key are the same; with different keys the answer is 401."""
    method, path, body, status = CALLS[call]

    def send(*headers: tuple[str, str]) -> httpx.Response:
        return httpx.request(method, f"{quiet_app.url}{path}", headers=dict(headers), **body)

    header, bearer = ("X-API-Key", ANNA), ("Authorization", f"Bearer {ANNA}")
    assert [send(*each).status_code for each in ([header], [bearer], [header, bearer])] == [status] * 3
    assert send(("Authorization", f"bearer  {ANNA}")).status_code == status
    assert send(header, ("Authorization", "Basic eDp5")).status_code == status
    differing = send(header, ("Authorization", f"Bearer {BEN}"))
    assert differing.status_code == 401
    assert "different API keys" in differing.json()["error"]["message"]
    assert send(("Authorization", "Bearer")).status_code == 401


def test_nothing_public_contains_a_part_of_the_digest(quiet_app: App) -> None:
    """Events, history, reviews, refusals and the run carry a random id of the key."""
    run_id = quiet_app.start("Rain at night")
    paths = ("", "/events", "/history", "/reviews")
    texts = [quiet_app.client.get(f"/v1/runs/{run_id}{path}").text for path in paths]
    texts.append(quiet_app.client.post(f"/v1/runs/{run_id}/approve", json={"gate": "publish", "approved": True}).text)
    rows: list[dict[str, Any]] = quiet_app.rows("select digest from api_keys")

    assert "settings key 1" in texts[1]
    assert not [text for text in texts for row in rows if row["digest"][:8] in text]
