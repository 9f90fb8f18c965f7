"""The rate limit: sixty requests per minute and key, over any number of servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.app import ANNA, BEN, App, SandboxClient, open_app


@pytest.fixture(scope="module")
def servers(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[tuple[App, App]]:
    """Two servers with one database and the limit of the API reference."""
    with (
        open_app(postgres_server, migrated_template, sandbox_process, with_worker=False, rate_limit=60) as first,
        App(first.settings, sandbox_process, with_worker=False) as second,
    ):
        yield first, second


def assert_limited(answer: httpx.Response) -> None:
    body = answer.json()
    wait = body["retry_after_seconds"]
    assert (answer.status_code, body["error"]["code"]) == (429, "rate_limited")
    assert isinstance(wait, int)
    assert 1 <= wait <= 61
    assert answer.headers["retry-after"] == str(wait)
    assert answer.headers["x-request-id"]


@pytest.mark.slow
def test_the_sixty_first_request_is_refused(servers: tuple[App, App]) -> None:
    """Requests are counted over both servers and all paths; other keys, health and webhooks are not affected."""
    clients = [app.client for app in servers]
    answers = [clients[n % 2].get(("/v1/runs", "/v1/runs?limit=1000")[n % 3 == 0]) for n in range(60)]

    assert Counter(answer.status_code for answer in answers) == {200: 40, 422: 20}
    for client in clients:
        assert_limited(client.get("/v1/runs"))
        assert_limited(client.post("/v1/runs/start", json={"project": "tiny", "brief": "Rain"}))
        assert_limited(client.post("/v1/chat/supervisor", json={"message": "Hello"}))
    assert clients[0].get("/v1/runs", headers={"X-API-Key": BEN}).status_code == 200
    assert clients[1].get("/health").status_code == 200
    for _ in range(3):
        answer = clients[0].post("/v1/webhooks/sora", content=b"{}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_signature")
    assert servers[0].rows("select 1 from runs") == []


@pytest.mark.slow
def test_requests_with_wrong_keys_are_counted_by_address(servers: tuple[App, App]) -> None:
    """Guessing keys is limited by address, whatever the guess, and does not affect a valid key."""
    with httpx.Client(base_url=servers[0].url) as anonymous:
        answers = [anonymous.get("/v1/runs", headers={"X-API-Key": f"guess-{n}"}) for n in range(58)]
        answers += [anonymous.get("/v1/runs") for _ in range(2)]
        assert {answer.status_code for answer in answers} == {401}
        assert_limited(anonymous.get("/v1/runs", headers={"X-API-Key": "guess"}))
        assert_limited(anonymous.get("/v1/runs"))
        assert anonymous.get("/v1/runs", headers={"X-API-Key": BEN}).status_code == 200
        assert anonymous.get("/health").status_code == 200
    assert_limited(servers[1].client.get("/v1/runs", headers={"X-API-Key": ANNA}))
