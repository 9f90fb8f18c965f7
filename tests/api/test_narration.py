"""A project with a voice: words at the gate with their price, one call for each, and a film that speaks them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import c2pa
import httpx
import pytest

from tests.app import PAIR_PROJECT, App, SandboxClient, open_app

IDEATION, PUBLISH = "awaiting_ideation_approval", "awaiting_publish_approval"
PROJECT = PAIR_PROJECT.replace("budget_usd: 5", "budget_usd: 0.6\nvoice: alloy")
#: Three films are rendered, each with a process of its own.
pytestmark = pytest.mark.timeout(400)
CALLS = "select key, state, request, spent_usd, amount_usd, result from orders where run_id = %s and kind = 'speech'"


@pytest.fixture(scope="module")
def voiced(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[App]:
    """The product with a speech server, whose price is large enough to see."""
    folder = tmp_path_factory.mktemp("voiced")
    (folder / "voiced.md").write_text(PROJECT)
    changes = {"projects_dir": folder, "speech_base_url": f"{sandbox_process.url}/v1", "speech_price": Decimal("0.5")}
    published = tmp_path_factory.mktemp("published")
    with open_app(postgres_server, migrated_template, sandbox_process, publish_folder=published, **changes) as opened:
        yield opened


def calls(sandbox: SandboxClient, words: str) -> list[dict[str, Any]]:
    return [call for call in sandbox.client.get("/sandbox/speech").json() if call["words"] == words]


def with_words(run: dict[str, Any], *narrations: str) -> list[dict[str, Any]]:
    ideas = run["review"]["content"]["ideas"]
    return [{**idea, "narration": words} for idea, words in zip(ideas, narrations, strict=True)]


def approve(app: App, run: dict[str, Any], *narrations: str) -> httpx.Response:
    body = {"gate": "ideation", "approved": True, "edits": with_words(run, *narrations)}
    return app.client.post(f"/v1/runs/{run['run_id']}/approve", json=body)


@pytest.mark.slow
def test_a_film_speaks_the_approved_words(voiced: App, sandbox: SandboxClient) -> None:
    """The gate shows words, voice and price; each text is ordered once for that price, and the film has the sound."""
    run = voiced.until(voiced.start(project="voiced"), IDEATION)
    run_id, content = run["run_id"], run["review"]["content"]
    written = [idea["narration"] for idea in content["ideas"]]

    assert all(written)
    assert content["speech"] == {"model": "gpt-4o-mini-tts", "voice": "alloy", "usd_per_1000_characters": "0.5"}
    assert Decimal(content["estimated_usd"]) == Decimal("0.4") + sum(
        (Decimal(len(words)) / 2000).quantize(Decimal("0.0001")) for words in {*written}
    )
    answer = approve(voiced, run, "One two three.", "Four five.")
    assert answer.status_code == 200, answer.text
    film = voiced.until(run_id, PUBLISH, seconds=300)

    orders = voiced.rows(f"{CALLS} order by key", run_id)
    assert [(row["state"], row["request"]["input"], row["spent_usd"]) for row in orders] == [
        ("settled", "One two three.", Decimal("0.0070")),
        ("settled", "Four five.", Decimal("0.0050")),
    ]
    assert len(calls(sandbox, "One two three.")) == len(calls(sandbox, "Four five.")) == 1
    assert film["cost"]["spent_usd"] == pytest.approx(0.412, abs=0.001)
    [render] = voiced.rows("select request from orders where run_id = %s and kind = 'render'", run_id)
    assert [clip["narration"] for clip in render["request"]["clips"]] == [
        {"digest": row["result"]["digest"], "text": row["request"]["input"], "model": "gpt-4o-mini-tts"}
        for row in orders
    ]
    history = voiced.client.get(f"/v1/runs/{run_id}/history").json()
    assert json.dumps(history).count("arration 1 was made") == 1
    voiced.decide(run_id, "publish")
    voiced.until(run_id, "completed")
    [published] = (voiced.settings.publish_folder or Path()).glob("*/film.mp4")
    assert published.with_name("film.srt").read_text().split("\n")[2::4] == ["One two three.", "Four five."]
    digest = film["review"]["content"]["film"]["digest"]
    stored = voiced.settings.data_dir / "artifacts" / "sha256" / digest[:2] / digest
    downloaded = voiced.client.get(f"/v1/artifacts/{digest}").content
    for copy in (published.read_bytes(), stored.read_bytes(), downloaded):
        assert narrating_models(copy) == ["gpt-4o-mini-tts"]


def narrating_models(film: bytes) -> list[str]:
    """Return the models that the valid C2PA manifest of a film names for its narrations."""
    with c2pa.Reader("video/mp4", io.BytesIO(film)) as reader:
        assert reader.get_validation_state() == "Valid"
        found = json.loads(reader.json())
    assertions = found["manifests"][found["active_manifest"]]["assertions"]
    [actions] = [each["data"]["actions"] for each in assertions if each["label"] == "c2pa.actions.v2"]
    return [each["softwareAgent"]["name"] for each in actions if "arration" in each.get("description", "")]


def test_the_price_of_the_words_is_part_of_the_caps(voiced: App, sandbox: SandboxClient) -> None:
    """Words that cost more than the cap leaves are refused with the amounts, before anything is ordered."""
    run = voiced.until(voiced.start(project="voiced"), IDEATION)
    answer = approve(voiced, run, "a " * 400, "b")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "budget_exceeded")
    assert answer.json()["error"]["details"]["usd"] > 0.59
    assert voiced.rows(CALLS, run["run_id"]) == []


@pytest.mark.slow
def test_a_lost_answer_is_never_repeated(voiced: App, sandbox: SandboxClient) -> None:
    """The run stops for a person, who sees where to look; only the declaration calls again."""
    sandbox.fault("speech_lost", times=1)
    run = voiced.until(voiced.start(project="voiced"), IDEATION)
    run_id = run["run_id"]
    approve(voiced, run, "Lost words.", "")
    voiced.until_true(run_id, lambda _: bool(voiced.rows("select from troubles where run_id = %s", run_id)))
    # The time for the answer is over.
    late = "update orders set called_at = now() - interval '1 hour' where run_id = %s and kind = 'speech' returning key"
    voiced.rows(late, run_id)
    failed = _until_failed(voiced, run_id)

    assert failed["error"]["code"] == "speech_outcome_unknown"
    retry = f"/v1/runs/{run_id}/retry"
    evidence = voiced.client.post(retry, json={})
    assert (evidence.status_code, len(calls(sandbox, "Lost words."))) == (409, 1)
    [order] = evidence.json()["error"]["details"]["orders"]
    assert order["lookup_url"] == f"{sandbox.url}/v1"
    confirm = evidence.json()["error"]["details"]["confirm"]
    assert voiced.client.post(retry, json={"not_made": True, "confirm": confirm}).status_code in (200, 202)
    voiced.until(run_id, PUBLISH, seconds=300)
    assert len(calls(sandbox, "Lost words.")) == 2
    states = [row["state"] for row in voiced.rows(f"{CALLS} order by key", run_id)]
    assert states == ["failed", "settled"]


def _until_failed(app: App, run_id: str) -> dict[str, Any]:
    return app.until_true(run_id, lambda run: run["status"] == "failed")


@pytest.mark.slow
def test_equal_words_are_one_order(voiced: App, sandbox: SandboxClient) -> None:
    """Both clips speak the same sound, for the price of one, and nothing counts as a duplicate."""
    run = voiced.until(voiced.start(project="voiced"), IDEATION)
    assert approve(voiced, run, "The same words.", "The same words.").status_code == 200
    voiced.until(run["run_id"], PUBLISH, seconds=300)

    assert len(calls(sandbox, "The same words.")) == len(voiced.rows(CALLS, run["run_id"])) == 1
    assert sandbox.counts()["duplicate_prompts"] == 0


def test_a_project_with_a_voice_needs_a_server(app: App, tmp_path: Path) -> None:
    """Without one it cannot be started, and ideas of other projects have no narration."""
    voiced = app.in_loop(_voiced(app))
    assert voiced == (
        "project_refused",
        "Project tiny cannot be started: it has a voice, and SPEECH_BASE_URL is not set.",
    )
    run = app.until(app.start(), IDEATION)
    text = json.dumps(run)
    assert not any(name in text for name in ("narration", "speech", "voiced"))
    body = {"gate": "ideation", "approved": True, "edits": with_words(run, "Words.")}
    answer = app.client.post(f"/v1/runs/{run['run_id']}/approve", json=body)
    assert (answer.status_code, "has no voice" in answer.text) == (422, True)


async def _voiced(app: App) -> tuple[str, str]:
    from dataclasses import replace

    from runs.errors import RunError
    from runs.start import resolve_project

    services = app.state.services
    voiced = services.projects["tiny"].model_copy(update={"voice": "alloy"})
    try:
        resolve_project(replace(services, projects={"tiny": voiced}), "tiny", {})
    except RunError as error:
        return error.code, error.message
    return "", ""
