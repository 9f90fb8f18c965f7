"""The whole line by HTTP, as the API reference tells it: from a brief to a published film."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from providers.webhooks import parse_secret, sign
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
class Told:
    """One run, and every state in which it was seen."""

    run: dict[str, Any]
    seen: list[dict[str, Any]]


@pytest.fixture(scope="module")
def told(app: App, sandbox_process: SandboxClient) -> Iterator[Told]:
    """A run that was approved at both gates and met every trick of the webhooks on its way."""
    sandbox_process.clear()
    sandbox_process.fault("slow", seconds=1.5)
    sandbox_process.fault("webhook_duplicate")
    sandbox_process.fault("webhook_failed_after_completed")
    answer = app.client.post("/v1/runs/start", json={"project": "tiny", "brief": "Create a relaxing rain video"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "pending"
    run_id, seen, decided = answer.json()["run_id"], [answer.json() | {"current_step": None}], set()
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        run = app.run(run_id)
        if run["status"] != seen[-1]["status"] or run["current_step"] != seen[-1]["current_step"]:
            seen.append(run)
        if run["status"] in ("completed", "failed"):
            break
        if run["review"] and run["review"]["gate"] not in decided:
            decided.add(run["review"]["gate"])
            app.decide(run_id, run["review"]["gate"], digest=run["review"]["digest"], comment="Looks good")
        if run["status"] == "awaiting_video_generation" and "lied" not in decided:
            decided.add("lied")
            (clip,) = run["artifacts"]["clip_manifest"]["clips"]
            assert _told_that_it_failed(app, clip["task_id"]).json() == {"status": "accepted"}
        time.sleep(0.03)
    yield Told(run, seen)
    sandbox_process.clear()


def _told_that_it_failed(app: App, video_id: str) -> httpx.Response:
    body = json.dumps({"object": "event", "type": "video.failed", "data": {"id": video_id}}).encode()
    (secret,) = app.settings.video_webhook_secrets or []
    headers = sign(parse_secret(secret.get_secret_value()), id="msg_lie", at=datetime.now(UTC), body=body)
    return httpx.post(f"{app.url}/v1/webhooks/sora", content=body, headers=headers)


def test_every_status_is_seen(told: Told) -> None:
    """In the order of the reference, each with a step that fits it."""
    statuses = list(dict.fromkeys(state["status"] for state in told.seen))
    waits = [status for status in statuses if status != "running"]

    assert waits == [status for status in STEPS if status != "running"]
    assert "running" in statuses
    for state in told.seen:
        assert state["current_step"] in STEPS[state["status"]], state


def test_a_finished_run_shows_what_it_made(told: Told) -> None:
    """Ids, digests, lengths and links, and no file bytes."""
    run, made = told.run, told.run["artifacts"]

    assert (run["status"], run["current_step"], run["error"], run["review"]) == ("completed", None, None, None)
    assert set(made) == {"ideas", "clip_manifest", "final_video", "publication"}
    (clip,) = made["clip_manifest"]["clips"]
    assert (clip["clip"], clip["take"], clip["state"], clip["usd"]) == (1, 1, "settled", 0.3)
    assert clip["task_id"].startswith("video_")
    film = made["final_video"]
    assert film["url"] == f"/v1/artifacts/{film['digest']}"
    assert film["seconds"] == pytest.approx(3.0, abs=0.05)
    assert (film["width"], film["height"]) == (1080, 1920)
    assert run["cost"] == {"estimated_usd": 0.3, "reserved_usd": 0.0, "spent_usd": 0.3, "cap_usd": 5.0}


def test_the_publication_says_where_it_can_be_seen(told: Told) -> None:
    """A link for each platform, beside the words that were posted."""
    publication = told.run["artifacts"]["publication"]

    assert publication["caption"]
    assert set(publication["platforms"]) == {"tiktok", "youtube"}
    assert all(link["url"].startswith("http") for link in publication["platforms"].values())


def test_paid_and_published_once(told: Told, app: App) -> None:
    """Whatever webhooks were told twice, too late or in vain: a video that was said to have failed had not."""
    (charge,) = app.sandbox.charges(told.run["run_id"])

    assert charge["usd"] == 0.3
    (post,) = app.sandbox.posts(told.run["artifacts"]["final_video"]["digest"])
    assert post["flags"]


def test_the_film_is_its_digest(told: Told, app: App) -> None:
    """Whole or in parts, it is the same file, and its ETag is its sha256."""
    film = told.run["artifacts"]["final_video"]
    whole = app.client.get(film["url"])

    assert whole.status_code == 200
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["etag"] == f'"{film["digest"]}"'
    assert hashlib.sha256(whole.content).hexdigest() == film["digest"]
    assert len(whole.content) == film["size_bytes"]
    size = len(whole.content)
    for asked, part in (
        ("bytes=0-99", whole.content[:100]),
        (f"bytes={size - 10}-", whole.content[-10:]),
        ("bytes=-10", whole.content[-10:]),
        (f"bytes=100-{size * 2}", whole.content[100:]),
    ):
        answer = app.client.get(film["url"], headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, part), asked
        assert answer.headers["content-range"].endswith(f"/{size}")
        assert answer.headers["content-length"] == str(len(part))
    same = app.client.get(film["url"], headers={"If-None-Match": f'"{film["digest"]}"'})
    assert (same.status_code, same.content) == (304, b"")
    for nonsense in ("bytes=", "bytes=a-b", "pages=1-2", "bytes=0-1,5-6"):
        assert app.client.get(film["url"], headers={"Range": nonsense}).status_code == 200, nonsense


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=5-1", "bytes=-0"])
def test_a_range_outside_the_film(told: Told, app: App, asked: str) -> None:
    """416 with the size, in our shape of an error."""
    film = told.run["artifacts"]["final_video"]
    answer = app.client.get(film["url"], headers={"Range": asked})

    assert (answer.status_code, answer.json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{film['size_bytes']}"


def test_the_events_tell_the_story(told: Told, app: App) -> None:
    """From the start to the end, numbered upwards, and in parts from any number."""
    events = app.events(told.run["run_id"])
    kinds, numbers = [event["kind"] for event in events], [event["seq"] for event in events]

    assert (kinds[0], kinds[-1]) == ("run.started", "run.completed")
    assert numbers == sorted(set(numbers))
    assert kinds.count("decision.recorded") == 2
    assert kinds.count("review.opened") == 2
    assert app.events(told.run["run_id"], after=numbers[4]) == events[5:]


def test_the_events_as_a_stream(told: Told, app: App) -> None:
    """The same events as server-sent ones; `Last-Event-ID` leaves out those already seen; the end ends it."""
    events = app.events(told.run["run_id"])
    url, headers = f"/v1/runs/{told.run['run_id']}/events", {"Accept": "text/event-stream"}
    answer = app.client.get(url, headers=headers)
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [block[0] for block in blocks] == [f"id: {event['seq']}" for event in events]
    assert [json.loads(block[2].removeprefix("data: ")) for block in blocks] == events
    last = events[-3]["seq"]
    rest = app.client.get(url, headers={**headers, "Last-Event-ID": str(last)}).text
    assert [line for line in rest.split("\n") if line.startswith("id:")] == [f"id: {e['seq']}" for e in events[-2:]]
    for odd in ("²", "x", "-1", "9" * 30):
        again = app.client.get(url, headers={**headers, "Last-Event-ID": odd.encode()})
        assert again.text.count("\nevent: ") == len(events), odd


def test_a_finished_run_takes_no_more(told: Told, app: App) -> None:
    """No decision, no cancelling, no retry."""
    url = f"/v1/runs/{told.run['run_id']}"
    late = app.client.post(f"{url}/approve", json={"gate": "publish", "approved": True})
    error = late.json()["error"]

    assert (late.status_code, error["code"], error["details"]["open_gate"]) == (409, "gate_not_open", None)
    assert error["details"]["last_decision"]["gate"] == "publish"
    assert error["details"]["last_decision"]["decided_by"].startswith("key_")
    assert app.client.post(f"{url}/cancel").json()["error"]["code"] == "run_ended"
    assert app.client.post(f"{url}/retry").json()["error"]["code"] == "run_not_retryable"
    assert app.run(told.run["run_id"]) == told.run
