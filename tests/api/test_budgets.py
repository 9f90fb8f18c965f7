"""Budgets of runs and caps: who may raise them, and what an approval may cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from runs.advance import advance
from tests.app import ANNA, App, SandboxClient, open_app

LIMITED = "key-of-lena-000000000000"


@pytest.fixture(scope="module")
def manual(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product without a worker, with a limited API key."""
    keys: dict[str, Any] = {"api_keys": [SecretStr(ANNA)], "limited_api_keys": [SecretStr(LIMITED)]}
    with open_app(postgres_server, migrated_template, sandbox_process, with_worker=False, **keys) as opened:
        yield opened


@pytest.fixture
def limited(manual: App) -> Iterator[httpx.Client]:
    """A client with the limited API key."""
    with manual.client_of(LIMITED) as client:
        yield client


def at_ideation(app: App, **fields: Any) -> dict[str, Any]:
    """Start a run and return it at the ideation gate."""
    run_id = app.start(**fields)
    app.in_loop(advance(app.state.services, run_id))
    return app.run(run_id)


def start(client: httpx.Client, budget_usd: str) -> httpx.Response:
    return client.post("/v1/runs/start", json={"project": "tiny", "brief": "Rain", "budget_usd": budget_usd})


def test_a_limited_key_raises_no_budget_above_that_of_the_project(manual: App, limited: httpx.Client) -> None:
    """The budget of the project is its limit; a key that may approve can raise it."""
    above = start(limited, "5.01")

    assert (above.status_code, above.json()["error"]["code"]) == (403, "approval_not_permitted")
    assert "5.00 USD" in above.json()["error"]["message"]
    assert start(limited, "5").status_code == 200
    assert start(manual.client, "5.01").status_code == 200


def test_a_limited_key_forks_no_run_with_a_higher_budget(manual: App, limited: httpx.Client) -> None:
    """The same limit counts for a fork, also of a run with a raised budget; without a budget it has the project's."""
    url = f"/v1/runs/{at_ideation(manual, budget_usd='9')['run_id']}/fork"
    above = limited.post(url, json={"budget_usd": "5.01"})
    without = limited.post(url)

    assert (above.status_code, above.json()["error"]["code"]) == (403, "approval_not_permitted")
    assert manual.run(without.json()["run_id"])["cost"]["cap_usd"] == 5
