"""Failures: a run fails with a code and a message, and a retry pays for nothing twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.app import App, SandboxClient

GATE = "awaiting_ideation_approval"


@pytest.mark.parametrize("code", ["SAFETY.INPUT.TEXT", "raiMediaFiltered", "content_policy_violation"])
@pytest.mark.slow
def test_a_prompt_that_any_moderation_refuses_is_rewritten(app: App, sandbox: SandboxClient, code: str) -> None:
    """It is ordered again once, in other words."""
    run_id = app.start(f"A fox in the snow, {code.lower()[:6]}")
    app.until(run_id, GATE)
    sandbox.fault("fail", code=code)
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_publish_approval", seconds=100)
    first, second = (charge["prompt"].rpartition("\n")[0] for charge in sandbox.charges(run_id))

    assert first != second


@pytest.mark.slow
def test_a_retry_orders_only_the_missing_clip(app: App, sandbox: SandboxClient) -> None:
    """One clip fails at its last attempt; the other is kept and not charged again."""
    run_id = app.start("A heron in the reeds", "pair")
    app.until(run_id, GATE)
    sandbox.fault("fail", times=3)
    app.decide(run_id, "ideation")
    failed = app.until(run_id, "failed")

    assert failed["error"]["code"] == "moderation_blocked"
    assert failed["error"]["retryable"] is True
    assert failed["error"]["message"].startswith("Clip ")
    assert failed["error"]["message"].endswith(".")
    clips = failed["artifacts"]["clip_manifest"]["clips"]
    assert Counter(clip["state"] for clip in clips) == {"failed": 3, "settled": 1}
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


def test_an_insufficient_budget_orders_nothing(app: App, sandbox: SandboxClient) -> None:
    """Not even the first of two clips is ordered, although the budget covers one."""
    run_id = app.start("A heron in the reeds", "pair", budget_usd=0.3)
    app.until(run_id, GATE)
    answer = app.client.post(f"/v1/runs/{run_id}/approve", json={"gate": "ideation", "approved": True})
    error, run = answer.json()["error"], app.run(run_id)

    assert (answer.status_code, error["code"]) == (409, "budget_exceeded")
    assert "0.30" in error["message"]
    assert sandbox.charges(run_id) == []
    assert (run["status"], run["cost"]["spent_usd"]) == (GATE, 0)


@pytest.mark.parametrize(
    ("brief", "code"),
    [
        ("A #flagged thing by the sea", "brief_refused"),
        ("Something #unfit by the sea", "brief_unfit"),
    ],
)
def test_an_unacceptable_brief_fails_the_run(app: App, sandbox: SandboxClient, brief: str, code: str) -> None:
    """It fails before any idea is generated, with a message for the person."""
    run = app.until(app.start(brief), "failed")

    assert (run["error"]["code"], run["artifacts"]) == (code, {})
    assert run["error"]["message"].endswith(".")


def wait_until(app: App, run_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not condition(run := app.run(run_id)):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


@pytest.mark.parametrize("fault", ["moderation_500", "llm_500_html", "llm_429"])
@pytest.mark.slow
def test_an_unavailable_provider_is_retried(app: App, sandbox: SandboxClient, fault: str) -> None:
    """The run continues when the provider is available; moderation is not skipped."""
    sandbox.fault(fault, times=2)
    run = wait_until(app, app.start(), lambda run: run["status"] in (GATE, "failed"))

    assert run["status"] == GATE


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("llm_refusal", "model_refused"),
        ("llm_length", "model_answer_too_long"),
        ("llm_content_filter", "model_content_filter"),
    ],
)
def test_an_unusable_model_answer_fails_the_run_until_a_retry(
    app: App, sandbox: SandboxClient, fault: str, code: str
) -> None:
    """The error has a code; the retry continues at the same step."""
    sandbox.fault(fault)
    run_id = app.start()
    failed = app.until(run_id, "failed")

    assert (failed["error"]["code"], failed["error"]["retryable"]) == (code, True)
    assert app.client.post(f"/v1/runs/{run_id}/retry").status_code == 200
    assert wait_until(app, run_id, lambda run: run["status"] == GATE)["error"] is None


@pytest.mark.parametrize(("status", "times"), [(404, 1), (400, 2), (422, 2)])
@pytest.mark.slow
def test_a_late_file_is_paid_once(app: App, sandbox: SandboxClient, status: int, times: int) -> None:
    """A completed video whose file is not served at first becomes a clip of the same order."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("content_late", times=times, status=status)
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_publish_approval", seconds=100)

    assert len(sandbox.charges(run_id)) == 1


@pytest.mark.slow
def test_a_retry_fetches_the_clip_that_was_charged(app: App, sandbox: SandboxClient) -> None:
    """After five minutes without its file a clip is lost; a retry fetches it if it is served by then."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("content_late", times=None)
    app.decide(run_id, "ideation")
    waited = "update orders set file_missing_since = now() - interval '6 minutes' where run_id = %s"
    app.until_true(
        run_id, lambda _: bool(app.rows(f"{waited} and file_missing_since is not null returning key", run_id))
    )
    failed = app.until(run_id, "failed")
    assert failed["error"]["code"] == "video_expired"
    assert "charged" in failed["error"]["message"]
    sandbox.clear()

    assert app.client.post(f"/v1/runs/{run_id}/retry").status_code == 200
    run = app.until(run_id, "awaiting_publish_approval", seconds=100)

    assert len(sandbox.charges(run_id)) == 1
    assert run["cost"]["spent_usd"] == sandbox.charges(run_id)[0]["usd"]


@pytest.mark.slow
def test_a_failed_clip_that_is_read_with_429_fails(app: App, sandbox: SandboxClient) -> None:
    """The status of the job is in the body, although the HTTP status is that of a rate limit."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("fail", code="generation_failed")
    sandbox.fault("failed_with_429", times=None)
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_publish_approval", seconds=100)

    assert len(sandbox.charges(run_id)) == 2


@pytest.mark.slow
def test_a_proxy_does_not_repeat_a_create(app: App, sandbox: SandboxClient) -> None:
    """A proxy in front of the video server sends each create to the vendor once."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("create_repeated", times=None)
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_publish_approval", seconds=100)

    assert len(sandbox.charges(run_id)) == 1


@pytest.mark.slow
def test_an_order_is_declared_not_made_with_its_price(app: App, sandbox: SandboxClient) -> None:
    """A lost order that the list cannot prove: candidates and price come first, then the confirmed declaration."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("list_without_prompts", times=None)
    sandbox.fault("create_accept_then_500")
    app.decide(run_id, "ideation")
    called = "update orders set called_at = called_at - interval '1 hour' where run_id = %s and kind = 'clip'"
    app.until_true(run_id, lambda _: bool(app.rows(f"{called} and called_at is not null returning key", run_id)))
    failed = app.until(run_id, "failed")
    assert failed["error"]["code"] == "clip_outcome_unknown"
    path, [charge] = f"/v1/runs/{run_id}/retry", sandbox.charges(run_id)

    answers = [
        app.client.post(path, json=body) for body in ({}, {"not_made": True}, {"not_made": True, "confirm": "x"})
    ]
    assert [answer.status_code for answer in answers] == [409] * 3
    details = answers[0].json()["error"]["details"]
    # The candidate itself goes on meanwhile: its status is not part of what is confirmed.
    assert [answer.json()["error"]["details"]["confirm"] for answer in answers] == [details["confirm"]] * 3
    assert (details["usd"], f"{details['usd']:.2f} USD" in answers[0].json()["error"]["message"]) == (
        charge["usd"],
        True,
    )
    assert charge["video_id"] in [found["task_id"] for found in details["orders"][0]["candidates"]]
    assert len(sandbox.charges(run_id)) == 1

    confirmed = app.client.post(path, json={"not_made": True, "confirm": details["confirm"]})
    assert confirmed.status_code == 200
    app.until(run_id, "awaiting_publish_approval", seconds=100)
    assert len(sandbox.charges(run_id)) == 2
