"""The history of a run, and a run that is decided by reviewer's links and announced by notifications."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from providers.orders import Order, OrderKey
from runs.history import get_history
from storage import decisions
from storage.ledger import Ledger
from storage.orders import OrderRow
from tests.app import App, SandboxClient, open_app
from tests.reviews.conftest import ManualApp, Receiver, notification_settings

IDEATION, PUBLISH = "awaiting_ideation_approval", "awaiting_publish_approval"
PUBLIC = "https://studio.example/base"


@pytest.fixture(scope="module")
def notifying_app(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    module_receiver: Receiver,
    deadline_projects: Path,
) -> Iterator[App]:
    """The app with a worker, a receiver of its notifications, and another public URL."""
    settings = {**notification_settings(module_receiver, deadline_projects), "public_url": PUBLIC}
    with open_app(postgres_server, migrated_template, sandbox_process, **settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def completed(notifying_app: App, module_receiver: Receiver) -> dict[str, Any]:
    """A run that reviewers without an API key changed, approved and published, and the responses that they got."""
    run_id = notifying_app.start(project="remind")
    responses: dict[str, Any] = {}
    with httpx.Client(timeout=30, headers={"accept": "application/json"}) as anonymous:
        notifying_app.until(run_id, IDEATION)
        anonymous.post(
            create_link(notifying_app, run_id, "ideation"), json={"decision": "revise", "comment": "Make it snow"}
        )
        notifying_app.until(run_id, IDEATION, revision=2)
        anonymous.post(create_link(notifying_app, run_id, "ideation"), json={"decision": "approve"})
        notifying_app.until(run_id, PUBLISH)
        url = create_link(notifying_app, run_id, "publish")
        responses["review"] = anonymous.get(url).json()
        responses["page"] = anonymous.get(url, headers={"accept": "text/html"}).text
        responses["film"] = anonymous.get(f"{url}/film")
        responses["part"] = anonymous.get(f"{url}/film", headers={"range": "bytes=0-99"})
        responses["answer"] = anonymous.post(url, json={"decision": "approve"})
        notifying_app.until(run_id, "completed")
        responses["film afterwards"] = anonymous.get(f"{url}/film")
    for _ in range(200):
        if len(module_receiver.notifications_of(run_id)) == 4:
            break
        time.sleep(0.05)
    history = notifying_app.client.get(f"/v1/runs/{run_id}/history").json()
    # Notifications can arrive in any order.
    notifications = sorted(
        module_receiver.notifications_of(run_id), key=lambda each: datetime.fromisoformat(each["timestamp"])
    )
    return {"run": notifying_app.run(run_id), "history": history, "notifications": notifications, **responses}


def create_link(app: App, run_id: str, gate: str) -> str:
    """Create a link to the open review, and return it with the local URL of the app."""
    url: str = app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": gate}).json()["url"]
    assert url.startswith(f"{PUBLIC}/review/")
    return url.replace(PUBLIC, app.url)


def test_film_can_be_watched_by_link(completed: dict[str, Any]) -> None:
    """The film is served completely or in part while the link is valid, and the page plays it."""
    film, part = completed["film"], completed["part"]

    assert (film.status_code, film.headers["content-type"]) == (200, "video/mp4")
    assert len(film.content) > 1000
    assert (part.status_code, part.content) == (206, film.content[:100])
    assert "no-referrer" in film.headers["referrer-policy"]
    assert completed["film afterwards"].status_code == 410
    assert (
        completed["review"]["film_url"] in "/review/" + completed["page"].partition('src="')[2]
        or "/film#t" in completed["page"]
    )
    caption = completed["review"]["content"]["caption"]
    for text in (caption, "Approve and publish", "made with AI", "LUFS", "Frozen frames", "Sound against picture"):
        assert text in completed["page"]


def test_link_shows_the_due_time(completed: dict[str, Any]) -> None:
    """The due time is text on the page, and a time in JSON."""
    assert datetime.fromisoformat(completed["review"]["due_at"]) > datetime.fromisoformat(
        completed["review"]["opened_at"]
    )
    assert "Please decide by" in completed["page"]


def test_notifications_cover_every_review_and_the_end(completed: dict[str, Any]) -> None:
    """Every opened review and the end of the run are announced."""
    announced = [
        (each["type"], each["data"].get("gate"), each["data"].get("revision")) for each in completed["notifications"]
    ]

    assert announced == [
        ("run.awaiting_approval", "ideation", 1),
        ("run.awaiting_approval", "ideation", 2),
        ("run.awaiting_approval", "publish", 1),
        ("run.completed", None, None),
    ]
    assert completed["notifications"][-1]["data"] == {"run_id": completed["run"]["run_id"], "status": "completed"}
    assert all("due_at" in each["data"] for each in completed["notifications"][:3])


def test_history_is_complete(completed: dict[str, Any], notifying_app: App) -> None:
    """The history contains every revision, decision, take, charge and post in order."""
    run_id, entries = completed["run"]["run_id"], completed["history"]["entries"]
    counted = Counter(entry["kind"] for entry in entries)

    assert counted == {
        "start": 1,
        "revision": 3,
        "link": 3,
        "decision": 3,
        "order": 3,
        "take": 1,
        "charge": 1,
        "render": 1,
        "post": 1,
        "end": 1,
    }
    for kind, query in (
        ("revision", "select 1 from events where run_id = %s and kind = 'review.opened'"),
        ("decision", "select 1 from decisions where run_id = %s"),
        ("take", "select 1 from orders where run_id = %s and kind = 'clip'"),
        ("charge", "select 1 from orders where run_id = %s and spent_usd > 0"),
        ("post", "select 1 from orders where run_id = %s and kind = 'publication'"),
    ):
        assert counted[kind] == len(notifying_app.rows(query, run_id)), kind
    times = [entry["at"] for entry in entries]
    assert times == sorted(times)
    assert [entry["kind"] for entry in entries][:4] == ["start", "revision", "link", "decision"]


def test_entries_have_actor_and_time(completed: dict[str, Any], notifying_app: App) -> None:
    """Each entry has a time, a text and an actor; decisions have their number and hash."""
    entries = completed["history"]["entries"]
    decided = [entry for entry in entries if entry["kind"] == "decision"]
    rows = notifying_app.in_loop(decisions.list_decisions(notifying_app.state.services.db, completed["run"]["run_id"]))

    assert all(
        entry["actor"]["id"] and entry["text"].strip() and datetime.fromisoformat(entry["at"]) for entry in entries
    )
    assert [(entry["details"]["number"], entry["details"]["hash"], entry["actor"]) for entry in decided] == [
        (row.number, row.hash, row.actor_json) for row in rows
    ]
    assert (
        decided[0]["text"]
        == "Revision 1 at the ideation gate was sent back for changes by reviewer's link: “Make it snow”"
    )
    [charge] = [entry for entry in entries if entry["kind"] == "charge"]
    assert charge["text"] == f"{charge['actor']['id']} charged 0.30 USD for take 1 of clip 1."
    [ordered] = [entry for entry in entries if entry["kind"] == "order" and entry["details"]["kind"] == "clip"]
    assert ordered["details"]["approved_by"] == rows[1].actor_json


def test_totals_are_those_of_the_run(completed: dict[str, Any]) -> None:
    """The totals of the history agree with the costs of the run."""
    assert completed["history"]["totals"] == {
        "revisions": {"ideation": 2, "publish": 1},
        "decisions": 3,
        "takes": 1,
        "posts": 1,
        "spent_usd": 0.3,
        "reserved_usd": 0.0,
        "charged_usd": {"clip": 0.3},
    }
    assert completed["run"]["cost"]["spent_usd"] == 0.3
    assert [each["state"] for each in completed["history"]["notifications"]] == ["delivered"] * 4


def test_reviews_are_listed_with_their_decisions(completed: dict[str, Any], notifying_app: App) -> None:
    """Reviews are listed in order, with the decision and the changes since the previous one."""
    reviews = notifying_app.client.get(f"/v1/runs/{completed['run']['run_id']}/reviews").json()["reviews"]

    assert [(each["gate"], each["revision"], each["decision"]["verdict"]) for each in reviews] == [
        ("ideation", 1, "revise"),
        ("ideation", 2, "approve"),
        ("publish", 1, "approve"),
    ]
    assert [bool(each["changes"]) for each in reviews] == [False, True, False]
    assert not any(each["open"] for each in reviews)
    assert reviews[0]["decision"]["comment"] == "Make it snow"
    for change in reviews[1]["changes"]:
        before: Any = reviews[0]["content"]
        after: Any = reviews[1]["content"]
        for part in change["path"].split("."):
            key: Any = int(part) if part.isdecimal() else part
            before, after = before[key], after[key]
        assert (before, after) == (change["before"], change["after"])


def test_failures_are_in_the_history(notifying_app: App, sandbox: SandboxClient) -> None:
    """A failed clip with a released reservation, a retry and a cancellation have entries."""
    run_id = notifying_app.start()
    notifying_app.until(run_id, IDEATION)
    sandbox.fault("fail", times=2)
    notifying_app.decide(run_id, "ideation")
    for _ in range(400):
        if notifying_app.run(run_id)["status"] == "failed":
            break
        time.sleep(0.05)
    assert notifying_app.run(run_id)["error"]["retryable"]
    sandbox.clear()
    notifying_app.client.post(f"/v1/runs/{run_id}/retry")
    notifying_app.client.post(f"/v1/runs/{run_id}/cancel")
    history = notifying_app.client.get(f"/v1/runs/{run_id}/history").json()
    entries = [(entry["kind"], entry["text"]) for entry in history["entries"]]

    failed = [text for kind, text in entries if kind == "take"]
    assert len(failed) >= 2
    assert all(" failed: " in text or "was not ordered" in text for text in failed)
    assert any(text.endswith("0.30 USD were released.") for text in failed)
    assert ("retry", "The run was retried.") in entries
    assert ("cancel", "The run was cancelled.") in entries
    assert history["totals"]["spent_usd"] == 0
    assert "end" in [kind for kind, _ in entries]
    assert json.dumps(history)


class LateLedger(Ledger):
    """A ledger to which another process adds an order of the run just after its orders were read."""

    async def list_for_run(self, run_id: UUID | str) -> list[OrderRow]:
        orders = await super().list_for_run(run_id)
        await self.reserve([Order(OrderKey(str(run_id), "clip"), "clip", {"prompt": "Rain"})])
        return orders


def test_order_that_is_written_while_the_history_is_read(manual_app: ManualApp) -> None:
    """The event of the order is left out: the history contains what was committed before."""
    run_id = manual_app.start_review()["run_id"]
    ledger = manual_app.services.ledger
    late = LateLedger(**vars(ledger))

    history = manual_app.app.in_loop(get_history(ledger.db, late, UUID(run_id)))

    assert "order.refused" in manual_app.event_kinds(run_id)
    assert "take" not in [entry.kind for entry in history.entries]


def test_unknown_run_has_no_history(notifying_app: App) -> None:
    """The response is 404, and 401 without an API key."""
    unknown = "/v1/runs/00000000-0000-4000-8000-000000000000"
    for path in ("history", "reviews"):
        assert notifying_app.client.get(f"{unknown}/{path}").status_code == 404
        assert httpx.get(f"{notifying_app.url}{unknown}/{path}").status_code == 401
