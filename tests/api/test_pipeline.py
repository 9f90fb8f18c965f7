"""The whole pipeline over HTTP, as in the API reference: from a brief to a published film."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from providers.webhooks import sign
from tests.app import App, SandboxClient

STEPS = {
    "pending": {None, "supervisor"},
    "running": {None, "supervisor", "ideator", "clips", "render", "publisher"},
    "awaiting_ideation_approval": {"ideator"},
    "awaiting_video_generation": {"clips"},
    "awaiting_render": {"render"},
    "awaiting_publish_approval": {"publisher"},
    "completed": {None},
}


@dataclass
class CompletedRun:
    """A completed run, and every state in which it was observed."""

    run: dict[str, Any]
    states: list[dict[str, Any]]


@pytest.fixture(scope="module")
def completed(app: App, sandbox_process: SandboxClient) -> Iterator[CompletedRun]:
    """A run that was approved at both gates, with duplicate, late and false webhooks."""
    sandbox_process.clear()
    sandbox_process.fault("slow", seconds=1.5)
    sandbox_process.fault("webhook_duplicate")
    sandbox_process.fault("webhook_failed_after_completed")
    answer = app.client.post("/v1/runs/start", json={"project": "tiny", "brief": "Create a relaxing rain video"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "pending"
    run_id, states, done = answer.json()["run_id"], [answer.json() | {"current_step": None}], set()
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        run = app.run(run_id)
        if run["status"] != states[-1]["status"] or run["current_step"] != states[-1]["current_step"]:
            states.append(run)
        if run["status"] in ("completed", "failed"):
            break
        if run["review"] and run["review"]["gate"] not in done:
            done.add(run["review"]["gate"])
            app.decide(run_id, run["review"]["gate"], digest=run["review"]["digest"], comment="Looks good")
        if run["status"] == "awaiting_video_generation" and "false webhook" not in done:
            done.add("false webhook")
            (clip,) = run["artifacts"]["clip_manifest"]["clips"]
            assert _send_false_failure(app, clip["task_id"]).json() == {"status": "accepted"}
        time.sleep(0.03)
    yield CompletedRun(run, states)
    sandbox_process.clear()


def _send_false_failure(app: App, video_id: str) -> httpx.Response:
    body = json.dumps({"object": "event", "type": "video.failed", "data": {"id": video_id}}).encode()
    (secret,) = app.settings.video_webhook_secrets or []
    headers = sign(secret, id="msg_false", at=datetime.now(UTC), body=body)
    return httpx.post(f"{app.url}/v1/webhooks/sora", content=body, headers=headers)


def test_every_status_is_reached(completed: CompletedRun) -> None:
    """The statuses follow the order of the API reference, each with a step that matches it."""
    statuses = list(dict.fromkeys(state["status"] for state in completed.states))
    waits = [status for status in statuses if status != "running"]

    assert waits == [status for status in STEPS if status != "running"]
    assert "running" in statuses
    for state in completed.states:
        assert state["current_step"] in STEPS[state["status"]], state


def test_a_completed_run_shows_its_artifacts(completed: CompletedRun) -> None:
    """They contain ids, digests, lengths and links, and no file content."""
    run, artifacts = completed.run, completed.run["artifacts"]

    assert (run["status"], run["current_step"], run["error"], run["review"]) == ("completed", None, None, None)
    assert set(artifacts) == {"ideas", "clip_manifest", "final_video", "publication"}
    (clip,) = artifacts["clip_manifest"]["clips"]
    assert (clip["clip"], clip["take"], clip["state"], clip["usd"]) == (1, 1, "settled", 0.3)
    assert clip["task_id"].startswith("video_")
    film = artifacts["final_video"]
    assert film["url"] == f"/v1/artifacts/{film['digest']}"
    assert film["seconds"] == pytest.approx(3.0, abs=0.05)
    assert (film["width"], film["height"]) == (360, 640)
    assert run["cost"] == {"estimated_usd": 0.3, "reserved_usd": 0.0, "spent_usd": 0.3, "cap_usd": 5.0}


def test_the_publication_has_a_link_for_each_platform(completed: CompletedRun) -> None:
    """It contains the posted caption, too."""
    publication = completed.run["artifacts"]["publication"]

    assert publication["caption"]
    assert set(publication["platforms"]) == {"tiktok", "youtube"}
    assert all(link["url"].startswith("http") for link in publication["platforms"].values())


def test_the_run_is_charged_and_published_once(completed: CompletedRun, app: App) -> None:
    """Duplicate, late and false webhooks have no effect on the charges."""
    (charge,) = app.sandbox.charges(completed.run["run_id"])

    assert charge["usd"] == 0.3
    (post,) = app.sandbox.posts(completed.run["artifacts"]["final_video"]["digest"])
    assert post["flags"]


def test_the_subtitles_of_the_film_are_served(completed: CompletedRun, app: App) -> None:
    """They are a file of their own, with the text over the clip."""
    film = completed.run["artifacts"]["final_video"]
    overlay = completed.run["artifacts"]["ideas"]["ideas"][0]["overlay"]

    served = app.client.get(film["subtitles_url"])

    assert (served.status_code, served.headers["content-type"]) == (200, "application/x-subrip")
    assert film["subtitles_url"] == f"/v1/artifacts/{film['subtitles_digest']}"
    assert re.fullmatch(rf"1\n00:00:0\d,\d{{3}} --> 00:00:0\d,\d{{3}}\n{re.escape(overlay)}\n", served.text)


def test_the_film_is_served_whole_and_in_ranges(completed: CompletedRun, app: App) -> None:
    """Its ETag is the sha256 of the file."""
    film = completed.run["artifacts"]["final_video"]
    whole = app.client.get(film["url"])

    assert whole.status_code == 200
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["etag"] == f'"{film["digest"]}"'
    assert hashlib.sha256(whole.content).hexdigest() == film["digest"]
    assert len(whole.content) == film["size_bytes"]
    size = len(whole.content)
    for header, part in (
        ("bytes=0-99", whole.content[:100]),
        (f"bytes={size - 10}-", whole.content[-10:]),
        ("bytes=-10", whole.content[-10:]),
        (f"bytes=100-{size * 2}", whole.content[100:]),
    ):
        answer = app.client.get(film["url"], headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, part), header
        assert answer.headers["content-range"].endswith(f"/{size}")
        assert answer.headers["content-length"] == str(len(part))
    unchanged = app.client.get(film["url"], headers={"If-None-Match": f'"{film["digest"]}"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    for header in ("bytes=", "bytes=a-b", "pages=1-2", "bytes=0-1,5-6"):
        assert app.client.get(film["url"], headers={"Range": header}).status_code == 200, header


@pytest.mark.parametrize("header", ["bytes=999999999-", "bytes=5-1", "bytes=-0"])
def test_a_range_outside_the_film_is_refused(completed: CompletedRun, app: App, header: str) -> None:
    """The 416 contains the size, in the common shape of an error."""
    film = completed.run["artifacts"]["final_video"]
    answer = app.client.get(film["url"], headers={"Range": header})

    assert (answer.status_code, answer.json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{film['size_bytes']}"


def test_the_events_are_complete_and_ordered(completed: CompletedRun, app: App) -> None:
    """They are numbered upwards, and can be read from any number on."""
    events = app.events(completed.run["run_id"])
    kinds, numbers = [event["kind"] for event in events], [event["seq"] for event in events]

    assert (kinds[0], kinds[-1]) == ("run.started", "run.completed")
    assert numbers == sorted(set(numbers))
    assert kinds.count("decision.recorded") == 2
    assert kinds.count("review.opened") == 2
    assert app.events(completed.run["run_id"], after=numbers[4]) == events[5:]


def test_events_can_be_streamed(completed: CompletedRun, app: App) -> None:
    """The stream has the same events, continues after `Last-Event-ID`, and ends with the run."""
    events = app.events(completed.run["run_id"])
    url, headers = f"/v1/runs/{completed.run['run_id']}/events", {"Accept": "text/event-stream"}
    answer = app.client.get(url, headers=headers)
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [block[0] for block in blocks] == [f"id: {event['seq']}" for event in events]
    assert [json.loads(block[2].removeprefix("data: ")) for block in blocks] == events
    last = events[-3]["seq"]
    remaining = app.client.get(url, headers={**headers, "Last-Event-ID": str(last)}).text
    assert [line for line in remaining.split("\n") if line.startswith("id:")] == [
        f"id: {e['seq']}" for e in events[-2:]
    ]
    for odd in ("²", "x", "-1", "9" * 30):
        again = app.client.get(url, headers={**headers, "Last-Event-ID": odd.encode()})
        assert again.text.count("\nevent: ") == len(events), odd


def test_a_completed_run_cannot_be_changed(completed: CompletedRun, app: App) -> None:
    """Decisions, cancellation and retries are refused."""
    url = f"/v1/runs/{completed.run['run_id']}"
    late = app.client.post(f"{url}/approve", json={"gate": "publish", "approved": True})
    error = late.json()["error"]

    assert (late.status_code, error["code"], error["details"]["open_gate"]) == (409, "gate_not_open", None)
    assert error["details"]["last_decision"]["gate"] == "publish"
    assert error["details"]["last_decision"]["actor"]["id"].startswith("key_")
    assert app.client.post(f"{url}/cancel").json()["error"]["code"] == "run_ended"
    assert app.client.post(f"{url}/retry").json()["error"]["code"] == "run_not_retryable"
    assert app.run(completed.run["run_id"]) == completed.run
