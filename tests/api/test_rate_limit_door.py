"""Sixty requests a minute for each key, however many servers there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.app import ANNA, BEN, App, SandboxClient, opened


@pytest.fixture(scope="module")
def two(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[tuple[App, App]]:
    """Two servers on one database, with the limit of the reference."""
    with (
        opened(postgres_server, migrated_template, sandbox_process, with_worker=False, rate_limit=60) as one,
        App(one.settings, sandbox_process, with_worker=False) as other,
    ):
        yield one, other


def limited(answer: httpx.Response) -> None:
    body = answer.json()
    wait = body["retry_after_seconds"]
    assert (answer.status_code, body["error"]["code"]) == (429, "rate_limited")
    assert isinstance(wait, int)
    assert 1 <= wait <= 60
    assert answer.headers["retry-after"] == str(wait)
    assert answer.headers["x-request-id"]


def test_the_sixty_first_request_waits(two: tuple[App, App]) -> None:
    """Counted over both servers and all doors; another key, health and webhooks go on."""
    clients = [app.client for app in two]
    answers = [clients[n % 2].get(("/v1/runs", "/v1/runs?limit=1000")[n % 3 == 0]) for n in range(60)]

    assert Counter(answer.status_code for answer in answers) == {200: 40, 422: 20}
    for client in clients:
        limited(client.get("/v1/runs"))
        limited(client.post("/v1/runs/start", json={"project": "tiny", "brief": "Rain"}))
        limited(client.post("/v1/chat/supervisor", json={"message": "Hello"}))
    assert clients[0].get("/v1/runs", headers={"X-API-Key": BEN}).status_code == 200
    assert clients[1].get("/health").status_code == 200
    for _ in range(3):
        answer = clients[0].post("/v1/webhooks/sora", content=b"{}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_signature")
    assert two[0].rows("select 1 from runs") == []


def test_wrong_keys_are_counted_apart(two: tuple[App, App]) -> None:
    """Whoever guesses keys is slowed down by address, whatever key is guessed, and no known key with it."""
    with httpx.Client(base_url=two[0].url) as stranger:
        answers = [stranger.get("/v1/runs", headers={"X-API-Key": f"guess-{n}"}) for n in range(58)]
        answers += [stranger.get("/v1/runs") for _ in range(2)]
        assert {answer.status_code for answer in answers} == {401}
        limited(stranger.get("/v1/runs", headers={"X-API-Key": "guess"}))
        limited(stranger.get("/v1/runs"))
        assert stranger.get("/v1/runs", headers={"X-API-Key": BEN}).status_code == 200
        assert stranger.get("/health").status_code == 200
    limited(two[1].client.get("/v1/runs", headers={"X-API-Key": ANNA}))
