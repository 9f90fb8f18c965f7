"""The price of a clip: where it is from, and what is charged in the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.app import PROFILES, TINY_PROJECT, App, SandboxClient, settings_for
from tests.databases import fast_folder, fresh_database

VENDORS = """
[[profiles]]
kind = "higgsfield"
models = ["alibaba/wan-3.0/text-to-video"]
sizes = ["180x320"]
seconds = [3]
usd_per_second = "0.20"
[profiles.input_fields]
prompt = "$prompt"
duration = "$seconds"
aspect_ratio = "$aspect"
resolution = "$resolution"
generate_audio = "$sound"

[[profiles]]
kind = "kling"
models = ["kling-3.0"]
sizes = ["180x320"]
seconds = [3]
usd_per_second = "0.20"
words = { "true" = "native", "false" = "off" }
[profiles.input_fields]
prompt = "$prompt"
settings = { audio = "$sound", resolution = "$resolution", aspect_ratio = "$aspect", duration = "$seconds" }
"""


@pytest.fixture(scope="module")
def app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product with the emulators of Higgsfield and Kling, and a profile of the owner for each."""
    changes = {
        "higgsfield_key_id": SecretStr("id"),
        "higgsfield_key_secret": SecretStr("secret"),
        "higgsfield_base_url": f"{sandbox_process.url}/higgsfield",
        "kling_api_key": SecretStr("key"),
        "kling_base_url": f"{sandbox_process.url}/kling",
    }
    with (
        contextmanager(fresh_database)(postgres_server, migrated_template) as dsn,
        tempfile.TemporaryDirectory(prefix="myloware-app-", dir=fast_folder()) as name,
    ):
        folder = Path(name)
        settings = settings_for(dsn, folder, sandbox_process, **changes)
        (folder / "profiles.toml").write_text(PROFILES + VENDORS)
        for vendor in ("higgsfield", "kling"):
            video = f"clips: 1\nvideo: {{provider: {vendor}, sound: true}}\n"
            (folder / "projects" / f"{vendor}.md").write_text(TINY_PROJECT.replace("clips: 1\n", video, 1))
        with App(settings, sandbox_process) as opened:
            yield opened


def page_of(app: App, run_id: str) -> str:
    """Return the page of a reviewer's link to the ideation review."""
    link = app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation"}).json()
    return app.client.get(link["url"], headers={"accept": "text/html"}).text


def offer_of(run: dict[str, Any]) -> tuple[str, str]:
    """Return the price of a clip at the open gate, and where it is from."""
    content = run["review"]["content"]
    return content["usd_per_clip"], content["price_source"]


@pytest.fixture(scope="module")
def runs(app: App) -> dict[str, dict[str, Any]]:
    """A run with each vendor: its id, as it was at the ideation gate with the page, and at the publish gate."""
    ids = {project: app.start(project=project) for project in ("higgsfield", "kling")}
    offered = {project: app.until(run_id, "awaiting_ideation_approval") for project, run_id in ids.items()}
    pages = {project: page_of(app, run_id) for project, run_id in ids.items()}
    app.sandbox.fault("quote_usd", usd=0.301, times=None)
    for run_id in ids.values():
        app.decide(run_id, "ideation")
    made = {project: app.until(run_id, "awaiting_publish_approval") for project, run_id in ids.items()}
    app.sandbox.clear()
    return {
        project: {"id": run_id, "offered": offered[project], "page": pages[project], "made": made[project]}
        for project, run_id in ids.items()
    }


def test_a_quote_is_shown_approved_reserved_and_charged(app: App, runs: dict[str, dict[str, Any]]) -> None:
    """It counts instead of the price of the profile, and another quote after the approval changes nothing."""
    run = runs["higgsfield"]
    [order] = app.rows("select amount_usd, spent_usd from orders where run_id = %s and kind = 'clip'", run["id"])
    [decision] = app.rows("select approved_digest from decisions where run_id = %s", run["id"])

    assert offer_of(run["offered"]) == ("0.300", "quote")
    assert "0.30 USD, quoted by higgsfield<" in run["page"]
    assert decision["approved_digest"] == run["offered"]["review"]["digest"]
    assert (str(order["amount_usd"]), str(order["spent_usd"])) == ("0.3000", "0.3000")
    assert [charge["usd"] for charge in app.sandbox.charges(run["id"])] == pytest.approx([0.30])
    assert "warnings" not in run["made"]["review"]["content"]


def test_another_charge_than_approved_is_reported(app: App, runs: dict[str, dict[str, Any]]) -> None:
    """The publish gate warns of it and the history contains it; the approved amount counts in the budgets."""
    run = runs["kling"]
    history = app.client.get(f"/v1/runs/{run['id']}/history").json()["entries"]
    warning = "kling charged 0.378 USD; 0.600 USD was approved, and counts in the budgets."

    assert offer_of(run["offered"]) == ("0.60", "owner")
    assert run["made"]["review"]["content"]["warnings"] == [f"Clip 1: {warning}"]
    assert any(warning in entry["text"] for entry in history)
    [charge] = [entry for entry in history if entry["kind"] == "charge" and "clip" in entry["text"]]
    assert "charged 0.38 USD for take 1 of clip 1" in charge["text"]
    assert charge["details"]["usd"] == 0.60


def test_without_a_quote_the_price_of_the_owner_counts(app: App, sandbox: SandboxClient) -> None:
    """Without a number or any answer the page shows the price of the profile and that the owner has set it."""
    pages = {}
    for fault in ("quote_in_words", "quote_missing"):
        sandbox.fault(fault)
        run_id = app.start(project="higgsfield")
        offered, pages[fault] = app.until(run_id, "awaiting_ideation_approval"), page_of(app, run_id)
        assert offer_of(offered) == ("0.60", "owner")
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_video_generation")

    assert all("0.60 USD, price set by you<" in page for page in pages.values())
    assert app.rows("select amount_usd::float as usd from orders where run_id = %s and kind = 'clip'", run_id) == [
        {"usd": 0.60}
    ]
