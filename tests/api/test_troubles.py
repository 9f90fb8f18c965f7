"""When something goes wrong: a run fails with a code and a sentence, and goes on without paying twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.app import App, SandboxClient

GATE = "awaiting_ideation_approval"


def test_a_failed_run_goes_on_without_paying_again(app: App, sandbox: SandboxClient) -> None:
    """One clip fails as often as it may be tried; the other is kept. A retry orders the missing one, and no more."""
    run_id = app.start("A heron in the reeds", "pair")
    app.until(run_id, GATE)
    sandbox.fault("fail", times=3)
    app.decide(run_id, "ideation")
    failed = app.until(run_id, "failed")

    assert failed["error"]["code"] == "moderation_blocked"
    assert failed["error"]["retryable"] is True
    assert failed["error"]["message"].startswith("Clip ")
    assert failed["error"]["message"].endswith(".")
    lines = failed["artifacts"]["clip_manifest"]["clips"]
    assert Counter(line["state"] for line in lines) == {"failed": 3, "settled": 1}
    assert failed["cost"]["spent_usd"] == 0.2
    assert len(sandbox.charges(run_id)) == 4
    sandbox.clear()

    answer = app.client.post(f"/v1/runs/{run_id}/retry")
    assert (answer.status_code, answer.json()["error"]) == (200, None)
    again = app.client.post(f"/v1/runs/{run_id}/retry")
    assert again.status_code == 409
    run = app.until(run_id, "awaiting_publish_approval", seconds=100)
    charges = sandbox.charges(run_id)
    assert len(charges) == len({charge["prompt"] for charge in charges}) == 5
    assert run["cost"]["spent_usd"] == 0.4
    assert run["review"]["content"]["film"]["seconds"] == pytest.approx(3.5, abs=0.1)
    app.decide(run_id, "publish")
    run = app.until(run_id, "completed")
    assert len(sandbox.charges(run_id)) == 5
    assert len(sandbox.posts(run["artifacts"]["final_video"]["digest"])) == 1


def test_a_budget_that_is_too_small_buys_nothing(app: App, sandbox: SandboxClient) -> None:
    """Not even the first of two clips, though that one alone would fit."""
    run_id = app.start("A heron in the reeds", "pair", budget_usd=0.3)
    app.until(run_id, GATE)
    answer = app.client.post(f"/v1/runs/{run_id}/approve", json={"gate": "ideation", "approved": True})
    if answer.status_code == 200:
        error = app.until(run_id, "failed")["error"]
    else:  # said at once, and the gate stays open for other ideas
        assert answer.status_code == 409
        error = answer.json()["error"]

    assert error["code"] == "budget_exceeded"
    assert "0.30" in error["message"]
    assert sandbox.charges(run_id) == []
    assert app.run(run_id)["cost"]["spent_usd"] == 0


@pytest.mark.parametrize(
    ("brief", "code"),
    [
        ("A #flagged thing by the sea", "brief_refused"),
        ("Something #unfit by the sea", "brief_unfit"),
    ],
)
def test_a_brief_that_must_not_be_made(app: App, sandbox: SandboxClient, brief: str, code: str) -> None:
    """It fails before any idea, with a sentence for the person who sent it."""
    run = app.until(app.start(brief), "failed")

    assert (run["error"]["code"], run["artifacts"]) == (code, {})
    assert run["error"]["message"].endswith(".")


def waited_out(app: App, run_id: str, there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not there(run := app.run(run_id)):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


@pytest.mark.parametrize("fault", ["moderation_500", "llm_500_html", "llm_429"])
def test_somebody_who_is_away_is_waited_for(app: App, sandbox: SandboxClient, fault: str) -> None:
    """The run stands still and goes on by itself; nothing is let through meanwhile."""
    sandbox.fault(fault, times=2)
    run = waited_out(app, app.start(), lambda run: run["status"] in (GATE, "failed"))

    assert run["status"] == GATE


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("llm_refusal", "model_refused"),
        ("llm_length", "model_answer_too_long"),
        ("llm_content_filter", "model_content_filter"),
    ],
)
def test_a_model_that_gives_no_answer_fails_the_run_until_it_is_retried(
    app: App, sandbox: SandboxClient, fault: str, code: str
) -> None:
    """With a code and a sentence; then it goes on where it was."""
    sandbox.fault(fault)
    run_id = app.start()
    failed = app.until(run_id, "failed")

    assert (failed["error"]["code"], failed["error"]["retryable"]) == (code, True)
    assert app.client.post(f"/v1/runs/{run_id}/retry").status_code == 200
    assert waited_out(app, run_id, lambda run: run["status"] == GATE)["error"] is None
