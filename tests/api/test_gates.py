"""The two gates and the decisions at them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.app import ANNA, BEN, App, SandboxClient

IDEATION = "awaiting_ideation_approval"
PUBLISH = "awaiting_publish_approval"


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def at_ideation(app: App, sandbox: SandboxClient) -> dict[str, Any]:
    """A run that waits at the ideation gate."""
    return app.until(app.start(), IDEATION)


def test_the_open_gate_shows_the_ideas_and_their_price(at_ideation: dict[str, Any]) -> None:
    """Nothing is spent before the approval."""
    review = at_ideation["review"]

    assert (review["gate"], review["revision"], at_ideation["current_step"]) == ("ideation", 1, "ideator")
    assert len(review["content"]["ideas"]) == 1
    assert at_ideation["cost"] == {"estimated_usd": 0.3, "reserved_usd": 0.0, "spent_usd": 0.0, "cap_usd": 5.0}
    assert at_ideation["artifacts"]["ideas"]["ideas"] == review["content"]["ideas"]


def test_a_rejection_ends_the_run(at_ideation: dict[str, Any], app: App) -> None:
    """The run fails as rejected, nothing is charged, and it cannot be retried."""
    run_id = at_ideation["run_id"]
    app.decide(run_id, "ideation", approved=False)
    run = app.until(run_id, "failed")

    assert (run["error"]["code"], run["current_step"], run["review"]) == ("rejected", None, None)
    assert app.sandbox.charges(run_id) == []
    assert error_of(app.client.post(f"/v1/runs/{run_id}/retry")) == (409, "run_not_retryable")


def test_requested_changes_open_the_gate_again(at_ideation: dict[str, Any], app: App) -> None:
    """A new revision shows other ideas; the previous revision can no longer be approved."""
    run_id, first = at_ideation["run_id"], at_ideation["review"]
    url = f"/v1/runs/{run_id}/approve"
    app.decide(run_id, "ideation", approved=False, comment="Make it snow instead")
    second = app.until(run_id, IDEATION, revision=2)["review"]

    assert second["gate"] == "ideation"
    assert second["content"]["ideas"] != first["content"]["ideas"]
    stale = app.client.post(url, json={"gate": "ideation", "approved": True, "digest": first["digest"]})
    assert error_of(stale) == (409, "stale_review")
    assert stale.json()["error"]["details"] == second
    assert app.sandbox.charges(run_id) == []
    rejected = app.client.post(url, json={"gate": "ideation", "approved": False, "decision": "reject", "comment": "No"})
    assert rejected.status_code == 200
    assert app.until(run_id, "failed")["error"]["code"] == "rejected"


def test_a_decision_at_the_wrong_gate_is_refused(at_ideation: dict[str, Any], app: App) -> None:
    """The error names the open gate, which stays open."""
    url = f"/v1/runs/{at_ideation['run_id']}/approve"
    wrong = app.client.post(url, json={"gate": "publish", "approved": True})

    assert error_of(wrong) == (409, "gate_not_open")
    assert wrong.json()["error"]["details"] == {"open_gate": "ideation", "last_decision": None}
    assert app.run(at_ideation["run_id"])["status"] == IDEATION


async def test_one_of_many_concurrent_decisions_counts(at_ideation: dict[str, Any], app: App) -> None:
    """The others get an error with the decision that was recorded."""
    run_id = at_ideation["run_id"]
    async with httpx.AsyncClient(base_url=app.url, timeout=30) as client:

        async def reject(key: str) -> httpx.Response:
            body = {"gate": "ideation", "approved": False, "digest": at_ideation["review"]["digest"]}
            return await client.post(f"/v1/runs/{run_id}/approve", json=body, headers={"X-API-Key": key})

        answers = await asyncio.gather(*(reject(key) for key in (ANNA, BEN) * 4))

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}
    late = next(answer.json()["error"] for answer in answers if answer.status_code == 409)
    assert late["code"] == "gate_not_open"
    assert late["details"]["last_decision"]["verdict"] == "reject"
    assert len(app.rows("select 1 from decisions where run_id = %s", run_id)) == 1


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"approved": True, "edits": []}, "edits"),
        ({"approved": True, "edits": {"caption": "x"}}, "edits"),
        ({"approved": True, "edits": [{"title": "x"}]}, "edits.0"),
        ({"approved": False, "comment": "x", "edits": [{"title": "x"}]}, "edits"),
        ({"approved": False, "comment": "x", "clips": [1]}, "clips"),
        ({"approved": False, "decision": "revise"}, "comment"),
        ({"approved": False, "decision": "revise", "comment": "  "}, "comment"),
        ({"approved": "maybe"}, "approved"),
        ({"approved": True, "comment": "a\x00b"}, "comment"),
        ({"approved": True, "surprise": 1}, "surprise"),
        ({"approved": False, "comment": "x" * 4001}, "comment"),
        ({}, "approved"),
    ],
    ids=str,
)
def test_an_invalid_decision_is_refused(quiet_app: App, fields: dict[str, Any], path: str) -> None:
    """The gate stays open, and the details name the field."""
    run_id = _run_at_ideation(quiet_app)
    answer = quiet_app.client.post(f"/v1/runs/{run_id}/approve", json={"gate": "ideation", **fields})

    assert error_of(answer) == (422, "invalid_request")
    error = answer.json()["error"]
    assert list(error["details"]["fields"]) == [f"body.{path.split('.')[0]}"]
    assert path in error["message"] or path in ("comment", "clips", "edits")
    assert quiet_app.run(run_id)["status"] == IDEATION


def _run_at_ideation(quiet_app: App) -> str:
    """Return a run at the ideation gate of an app without a worker; the first call advances one."""
    from runs.advance import advance

    known = quiet_app.client.get("/v1/runs", params={"status": IDEATION}).json()["runs"]
    if known:
        return str(known[0]["run_id"])
    run_id = quiet_app.start()
    quiet_app.in_loop(advance(quiet_app.state.services, run_id))
    return str(quiet_app.run(run_id)["run_id"])


def test_edited_ideas_are_ordered(at_ideation: dict[str, Any], app: App) -> None:
    """The edited scene is in the provider's prompt; a cancelled run takes no further action."""
    run_id = at_ideation["run_id"]
    (idea,) = at_ideation["review"]["content"]["ideas"]
    app.sandbox.fault("slow", seconds=4)
    app.decide(run_id, "ideation", edits=[{**idea, "scene": "A single reed in a still lake."}])
    run = app.until(run_id, "awaiting_video_generation")

    assert run["artifacts"]["ideas"]["ideas"][0]["scene"] == "A single reed in a still lake."
    (charge,) = app.sandbox.charges(run_id)
    assert charge["prompt"].startswith("A single reed in a still lake.")
    cancelled = app.client.post(f"/v1/runs/{run_id}/cancel").json()
    assert (cancelled["status"], cancelled["error"]["code"]) == ("failed", "cancelled")
    assert cancelled["error"]["message"]
    assert error_of(app.client.post(f"/v1/runs/{run_id}/cancel")) == (409, "run_ended")
    assert error_of(app.client.post(f"/v1/runs/{run_id}/retry")) == (409, "run_not_retryable")


def test_a_cancelled_run_accepts_no_decision(at_ideation: dict[str, Any], app: App) -> None:
    """The gate closes with the run, and nothing is ordered."""
    run_id = at_ideation["run_id"]
    app.client.post(f"/v1/runs/{run_id}/cancel")
    late = app.client.post(f"/v1/runs/{run_id}/approve", json={"gate": "ideation", "approved": True})

    assert error_of(late) == (409, "gate_not_open")
    assert app.sandbox.charges(run_id) == []


@pytest.mark.slow
def test_revisions_and_approval_at_the_publish_gate(app: App, sandbox: SandboxClient) -> None:
    """A new caption and a new clip, whose price is approved first, are one revision each; approved edits are posted."""
    run_id = app.start("Fog over a quiet harbour")
    app.until(run_id, IDEATION)
    app.decide(run_id, "ideation")
    first = app.until(run_id, PUBLISH, seconds=100)["review"]
    url = f"/v1/runs/{run_id}/approve"

    wrong = app.client.post(url, json={"gate": "ideation", "approved": True})
    assert error_of(wrong) == (409, "gate_not_open")
    assert wrong.json()["error"]["details"]["open_gate"] == "publish"
    for fields in ({"clips": [2]}, {"edits": {"film": "x"}}, {"edits": {"hashtags": {"no": 1}}}):
        body = {"gate": "publish", "approved": "edits" in fields, "comment": "x", **fields}
        assert error_of(app.client.post(url, json=body)) == (422, "invalid_request")

    app.decide(run_id, "publish", approved=False, comment="Another caption, please")
    second = app.until(run_id, PUBLISH, revision=2)["review"]
    assert second["content"]["caption"] != first["content"]["caption"]
    assert second["content"]["film"] == first["content"]["film"]
    assert len(app.sandbox.charges(run_id)) == 1

    app.decide(run_id, "publish", approved=False, comment="Clip 1 again, it is blurred")
    offer = app.until(run_id, IDEATION, revision=2)["review"]["content"]
    assert (offer["make"], offer["estimated_usd"]) == ([1], "0.30")
    app.decide(run_id, "ideation")
    third = app.until(run_id, PUBLISH, revision=3, seconds=100)["review"]
    assert third["content"]["film"]["digest"] != first["content"]["film"]["digest"]
    assert third["content"]["caption"] == second["content"]["caption"]
    assert len(app.sandbox.charges(run_id)) == 2
    stale = app.client.post(url, json={"gate": "publish", "approved": True, "digest": first["digest"]})
    assert error_of(stale) == (409, "stale_review")

    key = {"Idempotency-Key": str(uuid4())}
    edits = {"caption": "Only fog.", "hashtags": ["#fog"]}
    body = {"gate": "publish", "approved": True, "digest": third["digest"], "edits": edits}
    answers = [app.client.post(url, json=body, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    run = app.until(run_id, "completed")
    (post,) = app.sandbox.posts(third["content"]["film"]["digest"])
    assert app.sandbox.posts(first["content"]["film"]["digest"]) == []
    assert "Only fog." in post["title"]
    assert (run["artifacts"]["publication"]["caption"], run["revision"]) == ("Only fog.", 3)
    takes = [(clip["clip"], clip["take"]) for clip in run["artifacts"]["clip_manifest"]["clips"]]
    assert takes == [(1, 1), (1, 2)]


def test_a_repeated_decision_is_one_decision_also_after_a_crash(at_ideation: dict[str, Any], app: App) -> None:
    """The process died between decision and response; the gate shows a new revision by the time of the retry."""
    run_id, key = at_ideation["run_id"], {"Idempotency-Key": str(uuid4())}
    body = {"gate": "ideation", "approved": False, "comment": "More rain"}
    first = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=key)
    app.until(run_id, IDEATION, revision=2)
    lost = app.rows(
        "update idempotency_records set status_code = null, body = null, created_at = now() - interval '1 minute'"
        " where idempotency_key = %s returning idempotency_key",
        key["Idempotency-Key"],
    )
    again = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=key)
    other = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers={"Idempotency-Key": str(uuid4())})

    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 200)
    assert len(lost) == 1
    assert again.json()["revision"] == 2
    decisions = app.rows("select revision, idempotency_key from decisions where run_id = %s order by number", run_id)
    assert [row["revision"] for row in decisions] == [1, 2]
    assert decisions[0]["idempotency_key"] == key["Idempotency-Key"]
