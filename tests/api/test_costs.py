"""`GET /v1/costs` and `GET /v1/projects`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.costs import sql
from tests.api.test_statements import statements_of
from tests.app import App
from tests.console.seeds import Seeds

TODAY = datetime.now(UTC).date()
NAMES = ("spent_usd", "reserved_usd", "seconds_bought", "seconds_published")


@pytest.fixture
def seeds(quiet_app: App) -> Iterator[Seeds]:
    """A database without runs before and after."""
    seeds = Seeds(quiet_app)
    seeds.clear()
    yield seeds
    seeds.clear()


def costs(app: App, **query: Any) -> dict[str, Any]:
    """Return the costs, with each row as its amounts."""
    answer = app.client.get("/v1/costs", params=query)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def amounts(row: dict[str, Any]) -> list[float]:
    return [row[name] for name in NAMES]


def test_costs_are_summed(quiet_app: App, seeds: Seeds) -> None:
    """By day, project and provider: spent, reserved, and seconds bought and published, each film once."""
    first = seeds.costs("tiny", "kling", days_ago=1, spent=(0.5, 0.25), seconds=4)
    seeds.costs("tiny", "videos:host", spent=(0.4,), seconds=3, state="submitted")
    seeds.costs("pair", "videos:host", spent=(0.2,), seconds=2, published=1.5)
    seeds.order(first, "model", "model", spent_usd=0.01)
    seeds.order(None, "model", "model", spent_usd=0.02)
    report = costs(quiet_app)

    assert amounts(report["total"]) == [0.98, 0.4, 10.0, 1.5]
    assert {row["day"]: amounts(row) for row in report["days"]} == {
        str(TODAY - timedelta(days=1)): [0.75, 0.0, 8.0, 0.0],
        str(TODAY): [0.23, 0.4, 2.0, 1.5],
    }
    assert {row["project"]: amounts(row) for row in report["projects"]} == {
        "tiny": [0.76, 0.4, 8.0, 0.0],
        "pair": [0.2, 0.0, 2.0, 1.5],
        None: [0.02, 0.0, 0.0, 0.0],
    }
    assert [row["provider"] for row in report["providers"]] == ["kling", "videos:host", "model", "folder"]
    assert len(report["days_by_provider"]) == 4
    kept = quiet_app.rows("select sum(spent_usd)::float8 as usd from spending where scope = 'day'")
    assert kept == [{"usd": report["total"]["spent_usd"]}]


def test_a_film_counts_once(quiet_app: App, seeds: Seeds) -> None:
    """A second post of a film, to the platforms that failed, publishes no more seconds."""
    run_id = seeds.costs("tiny", "kling", spent=(0.3,), seconds=3, published=3)
    seeds.order(run_id, "publication", "folder", number=2)
    assert costs(quiet_app)["total"]["seconds_published"] == 3


def test_the_costs_of_many_orders_are_not_added_up(quiet_app: App, seeds: Seeds) -> None:
    """They are read from the sums of the days: the plan reads no order."""
    db = quiet_app.state.services.db
    values = {"first": TODAY, "last": TODAY, "project": None}
    plan = str(quiet_app.in_loop(db.fetch_all("explain " + sql["costs"], values)))
    assert "day_sums" in plan
    assert "orders" not in plan


def test_the_range_and_the_project(quiet_app: App, seeds: Seeds) -> None:
    """Days count in UTC, both ends included; one project can be chosen."""
    seeds.costs("tiny", "kling", days_ago=3, spent=(1,), seconds=3)
    seeds.costs("pair", "kling", days_ago=2, spent=(2,), seconds=3)
    day = {name: str(TODAY - timedelta(days=3)) for name in ("from", "to")}

    assert costs(quiet_app, **day)["total"]["spent_usd"] == 1
    assert costs(quiet_app, **day)["from"] == day["from"]
    assert costs(quiet_app, project="pair")["total"]["spent_usd"] == 2
    assert costs(quiet_app, project="none")["total"] == {
        **dict.fromkeys(("day", "project", "provider")),
        **dict.fromkeys(NAMES, 0.0),
    }


@pytest.mark.parametrize(
    "query",
    [{"from": "2026-02-02", "to": "2026-02-01"}, {"from": "2024-01-01", "to": "2026-01-01"}, {"from": "yesterday"}],
)
def test_an_invalid_range_is_refused(quiet_app: App, query: dict[str, str]) -> None:
    """The refusal names the days."""
    answer = quiet_app.client.get("/v1/costs", params=query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def test_caps(quiet_app: App, seeds: Seeds) -> None:
    """The caps of today are those that the ledger applies."""
    seeds.costs("tiny", "kling", spent=(0.4,), seconds=3, state="submitted")
    caps = {cap["name"]: cap for cap in costs(quiet_app)["caps"]}

    every = {"name": "all projects", "cap_usd": 1000.0, "committed_usd": 0.4, "left_usd": 999.6}
    assert caps["all projects"] == every


def test_projects(quiet_app: App) -> None:
    """A project has its clips, its platforms, its caps, and the price of its clips with the options that it has."""
    projects = {each["name"]: each for each in quiet_app.client.get("/v1/projects").json()["projects"]}
    tiny = projects["tiny"]

    assert (tiny["minimum_usd"], tiny["maximum_usd"]) == (0.3, 0.9)
    assert (tiny["description"], tiny["platforms"]) == ("One clip of three seconds.", ["tiktok", "youtube"])
    assert (tiny["clips"], tiny["clip_seconds"], tiny["clip_size"], tiny["budget_usd"]) == (1, 3, "180x320", 5)
    assert (tiny["options"], tiny["refusal"]) == ({"clips": {"minimum": 1, "maximum": 3}}, None)
    refused = [each for each in projects.values() if each["refusal"]]
    assert all(each["minimum_usd"] is None for each in refused)


def test_reading_costs_takes_three_statements(quiet_app: App, seeds: Seeds) -> None:
    """One for the key and the rate limit, one for the orders and one for the caps."""
    seeds.costs("tiny", "kling", spent=(0.4, 0.4, 0.4), seconds=3)
    assert statements_of(quiet_app, lambda: quiet_app.client.get("/v1/costs")) <= 3
    assert statements_of(quiet_app, lambda: quiet_app.client.get("/v1/projects")) <= 1
