"""Budgets of runs and caps: who may raise them, and what an approval may cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from runs.advance import advance
from tests.app import ANNA, TINY_PROJECT, App, SandboxClient, open_app

LIMITED = "key-of-lena-000000000000"


@pytest.fixture(scope="module")
def manual(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[App]:
    """The product without a worker, with a limited API key, a day's cap and a project with one of its own."""
    folder: Path = tmp_path_factory.mktemp("projects")
    (folder / "tiny.md").write_text(TINY_PROJECT)
    (folder / "capped.md").write_text(TINY_PROJECT.replace("budget_usd: 5", "budget_usd: 5\nday_budget_usd: 1.5"))
    settings: dict[str, Any] = {
        "api_keys": [SecretStr(ANNA)],
        "limited_api_keys": [SecretStr(LIMITED)],
        "projects_dir": folder,
        "day_cap_usd": 100,
    }
    with open_app(postgres_server, migrated_template, sandbox_process, with_worker=False, **settings) as opened:
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


@contextmanager
def spent(app: App, run_id: str, usd: str) -> Iterator[None]:
    """Let a run have spent this amount today while the block runs."""
    app.rows(
        "insert into orders (key, run_id, kind, provider, request, amount_usd, spent_usd, state)"
        " values ('spent', %s, 'model', 'model', '{}', %s, %s, 'settled') returning 1",
        *(run_id, usd, usd),
    )
    yield
    app.rows("delete from orders where key = 'spent' returning 1")


@pytest.mark.parametrize(
    ("cap", "project", "spender", "usd"),
    [
        ("the run's cap", "tiny", "this run", "4.5"),
        ("the day's cap of project capped (UTC)", "capped", "another run", "1"),
        ("the day's cap (UTC)", "tiny", "another run", "99.5"),
    ],
)
@pytest.mark.slow
def test_an_approval_above_a_cap_is_refused(manual: App, cap: str, project: str, spender: str, usd: str) -> None:
    """The answer has the numbers, the gate stays open, and an approval of fewer clips counts and is ordered."""
    manual.rows("update orders set created_at = created_at - interval '1 day' returning 1")
    other = manual.start(project=project)
    run = at_ideation(manual, project=project, options={"clips": 2})
    url = f"/v1/runs/{run['run_id']}/approve"
    body = {"gate": "ideation", "approved": True, "digest": run["review"]["digest"]}
    with spent(manual, run["run_id"] if spender == "this run" else other, usd):
        refused = manual.client.post(url, json=body)
        waiting = manual.run(run["run_id"])
        smaller = manual.client.post(url, json={**body, "keep": [2]})
        manual.in_loop(advance(manual.state.services, run["run_id"]))

    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (409, "budget_exceeded")
    assert (error["details"]["cap"], error["details"]["usd"], error["details"]["cap_left_usd"]) == (cap, 0.6, 0.5)
    assert f"0.60 USD more would exceed {cap}" in error["message"]
    assert (waiting["status"], waiting["review"]) == ("awaiting_ideation_approval", run["review"])
    assert smaller.status_code == 200
    orders = manual.rows("select state from orders where run_id = %s and kind = 'clip'", run["run_id"])
    assert [order["state"] for order in orders] == ["submitted"]


def test_a_link_refused_by_a_cap_can_be_used_later(manual: App) -> None:
    """The reviewer reads the numbers; the link still decides when there is room."""
    run = at_ideation(manual, budget_usd="0.2")
    url = manual.client.post(f"/v1/runs/{run['run_id']}/reviews/link", json={"gate": "ideation"}).json()["url"]
    refused = httpx.post(url, json={"decision": "approve"})
    manual.rows("update runs set cap_usd = 5 where id = %s returning 1", run["run_id"])
    accepted = httpx.post(url, json={"decision": "approve"})

    assert (refused.status_code, accepted.status_code) == (409, 200)
    assert "0.30 USD more would exceed the run's cap of 0.20 USD" in refused.text


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
