"""Two gates, and what people can say at them."""

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


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def at_ideation(app: App, sandbox: SandboxClient) -> dict[str, Any]:
    """A run that waits at the ideation gate."""
    return app.until(app.start(), IDEATION)


def test_the_open_gate_shows_what_is_to_be_decided(at_ideation: dict[str, Any]) -> None:
    """The ideas and their price, with a digest; nothing is spent yet."""
    review = at_ideation["review"]

    assert (review["gate"], review["revision"], at_ideation["current_step"]) == ("ideation", 1, "ideator")
    assert len(review["content"]["ideas"]) == 1
    assert at_ideation["cost"] == {"estimated_usd": 0.3, "reserved_usd": 0.0, "spent_usd": 0.0, "cap_usd": 5.0}
    assert at_ideation["artifacts"]["ideas"]["ideas"] == review["content"]["ideas"]


def test_no_without_a_word_ends_the_run(at_ideation: dict[str, Any], app: App) -> None:
    """Failed, as rejected; nothing was paid, and no retry brings it back."""
    run_id = at_ideation["run_id"]
    app.decide(run_id, "ideation", approved=False)
    run = app.until(run_id, "failed")

    assert (run["error"]["code"], run["current_step"], run["review"]) == ("rejected", None, None)
    assert app.sandbox.charges(run_id) == []
    assert refused(app.client.post(f"/v1/runs/{run_id}/retry")) == (409, "run_not_retryable")


def test_changes_open_the_same_gate_again(at_ideation: dict[str, Any], app: App) -> None:
    """Other ideas in a new revision; what was seen before can no longer be approved."""
    run_id, first = at_ideation["run_id"], at_ideation["review"]
    url = f"/v1/runs/{run_id}/approve"
    app.decide(run_id, "ideation", approved=False, comment="Make it snow instead")
    second = app.until(run_id, IDEATION, revision=2)["review"]

    assert second["gate"] == "ideation"
    assert second["content"]["ideas"] != first["content"]["ideas"]
    stale = app.client.post(url, json={"gate": "ideation", "approved": True, "digest": first["digest"]})
    assert refused(stale) == (409, "stale_review")
    assert stale.json()["error"]["details"] == {"digest": second["digest"], "revision": 2}
    assert app.sandbox.charges(run_id) == []
    told = app.client.post(url, json={"gate": "ideation", "approved": False, "decision": "reject", "comment": "No"})
    assert told.status_code == 200
    assert app.until(run_id, "failed")["error"]["code"] == "rejected"


def test_the_wrong_gate_is_told_which_one_is_open(at_ideation: dict[str, Any], app: App) -> None:
    """A click never answers another gate."""
    url = f"/v1/runs/{at_ideation['run_id']}/approve"
    wrong = app.client.post(url, json={"gate": "publish", "approved": True})

    assert refused(wrong) == (409, "gate_not_open")
    assert wrong.json()["error"]["details"] == {"open_gate": "ideation", "last_decision": None}
    assert app.run(at_ideation["run_id"])["status"] == IDEATION


async def test_of_many_clicks_at_once_one_counts(at_ideation: dict[str, Any], app: App) -> None:
    """The others are told that the gate is closed, and by whom."""
    run_id = at_ideation["run_id"]
    async with httpx.AsyncClient(base_url=app.url, timeout=30) as client:

        async def click(key: str) -> httpx.Response:
            said = {"gate": "ideation", "approved": False}
            return await client.post(f"/v1/runs/{run_id}/approve", json=said, headers={"X-API-Key": key})

        answers = await asyncio.gather(*(click(key) for key in (ANNA, BEN) * 4))

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}
    late = next(answer.json()["error"] for answer in answers if answer.status_code == 409)
    assert late["code"] == "gate_not_open"
    assert late["details"]["last_decision"]["verdict"] == "reject"
    assert len(app.rows("select 1 from decisions where run_id = %s", run_id)) == 1


@pytest.mark.parametrize(
    ("said", "place"),
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
def test_a_decision_that_makes_no_sense_is_refused(quiet_app: App, said: dict[str, Any], place: str) -> None:
    """The gate stays open, and the details name the place."""
    run_id = _held_at_ideation(quiet_app)
    answer = quiet_app.client.post(f"/v1/runs/{run_id}/approve", json={"gate": "ideation", **said})

    assert refused(answer) == (422, "invalid_request")
    error = answer.json()["error"]
    assert list(error["details"]["fields"]) == [f"body.{place.split('.')[0]}"]
    assert place in error["message"] or place in ("comment", "clips", "edits")
    assert quiet_app.run(run_id)["status"] == IDEATION


def _held_at_ideation(quiet_app: App) -> str:
    """A run at the ideation gate of a world where nobody works: it is moved there by hand, once."""
    from runs.advance import advance

    known = quiet_app.client.get("/v1/runs", params={"status": IDEATION}).json()["runs"]
    if known:
        return str(known[0]["run_id"])
    run_id = quiet_app.start()
    quiet_app.in_loop(advance(quiet_app.parts.services, run_id))
    return run_id


def test_edited_ideas_are_what_is_ordered(at_ideation: dict[str, Any], app: App) -> None:
    """The reviewer's own words reach the video provider; then the run is cancelled before anything else."""
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
    assert refused(app.client.post(f"/v1/runs/{run_id}/cancel")) == (409, "run_ended")
    assert refused(app.client.post(f"/v1/runs/{run_id}/retry")) == (409, "run_not_retryable")


def test_a_cancelled_run_takes_no_decision(at_ideation: dict[str, Any], app: App) -> None:
    """The gate is closed with the run, nothing is ordered."""
    run_id = at_ideation["run_id"]
    app.client.post(f"/v1/runs/{run_id}/cancel")
    late = app.client.post(f"/v1/runs/{run_id}/approve", json={"gate": "ideation", "approved": True})

    assert refused(late) == (409, "gate_not_open")
    assert app.sandbox.charges(run_id) == []


def test_the_publish_gate(app: App, sandbox: SandboxClient) -> None:
    """Another caption, then the clip again, each a revision of the same gate; then edits, and what is posted."""
    run_id = app.start("Fog over a quiet harbour")
    app.until(run_id, IDEATION)
    app.decide(run_id, "ideation")
    first = app.until(run_id, PUBLISH, seconds=100)["review"]
    url = f"/v1/runs/{run_id}/approve"

    wrong = app.client.post(url, json={"gate": "ideation", "approved": True})
    assert refused(wrong) == (409, "gate_not_open")
    assert wrong.json()["error"]["details"]["open_gate"] == "publish"
    for said in ({"clips": [2]}, {"edits": {"film": "x"}}, {"edits": {"hashtags": ["no"]}}):
        body = {"gate": "publish", "approved": "edits" in said, "comment": "x", **said}
        assert refused(app.client.post(url, json=body)) == (422, "invalid_request")

    app.decide(run_id, "publish", approved=False, comment="Another caption, please")
    second = app.until(run_id, PUBLISH, revision=2)["review"]
    assert second["content"]["caption"] != first["content"]["caption"]
    assert second["content"]["film"] == first["content"]["film"]
    assert len(app.sandbox.charges(run_id)) == 1

    app.decide(run_id, "publish", approved=False, comment="Clip 1 again, it is blurred")
    third = app.until(run_id, PUBLISH, revision=3, seconds=100)["review"]
    assert third["content"]["film"]["digest"] != first["content"]["film"]["digest"]
    assert third["content"]["caption"] == second["content"]["caption"]
    assert len(app.sandbox.charges(run_id)) == 2
    stale = app.client.post(url, json={"gate": "publish", "approved": True, "digest": first["digest"]})
    assert refused(stale) == (409, "stale_review")

    key = {"Idempotency-Key": str(uuid4())}
    words = {"caption": "Only fog.", "hashtags": ["#fog"]}
    body = {"gate": "publish", "approved": True, "digest": third["digest"], "edits": words}
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


def test_the_same_key_is_the_same_decision_also_after_a_crash(at_ideation: dict[str, Any], app: App) -> None:
    """The process died between the decision and its answer; meanwhile the gate shows something else."""
    run_id, key = at_ideation["run_id"], {"Idempotency-Key": str(uuid4())}
    body = {"gate": "ideation", "approved": False, "comment": "More rain"}
    first = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=key)
    app.until(run_id, IDEATION, revision=2)
    lost = app.rows(
        "update answers set status_code = null, body = null, created_at = now() - interval '1 minute'"
        " where key = %s returning key",
        key["Idempotency-Key"],
    )
    again = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=key)
    other = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers={"Idempotency-Key": str(uuid4())})

    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 200)
    assert len(lost) == 1
    assert again.json()["revision"] == 2
    made = app.rows("select revision, request from decisions where run_id = %s order by number", run_id)
    assert [row["revision"] for row in made] == [1, 2]
    assert made[0]["request"] == key["Idempotency-Key"]
