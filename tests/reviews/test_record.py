"""The record of a run, and a whole run decided by links and told to the outside."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from storage import decisions
from tests.app import App, SandboxClient, opened
from tests.reviews.conftest import Receiver, telling

IDEATION, PUBLISH = "awaiting_ideation_approval", "awaiting_publish_approval"
PUBLIC = "https://studio.example/base"


@pytest.fixture(scope="module")
def told_world(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    module_receiver: Receiver,
    deadline_projects: Path,
) -> Iterator[App]:
    """The whole product with a worker, telling a receiver, and known outside under another address."""
    settings = {**telling(module_receiver, deadline_projects), "public_url": PUBLIC}
    with opened(postgres_server, migrated_template, sandbox_process, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def done(told_world: App, module_receiver: Receiver) -> dict[str, Any]:
    """A run that reviewers without a key saw through: changed once, approved, published; and what they saw."""
    run_id = told_world.start(project="remind")
    seen: dict[str, Any] = {}
    with httpx.Client(timeout=30, headers={"accept": "application/json"}) as nobody:
        told_world.until(run_id, IDEATION)
        nobody.post(link(told_world, run_id, "ideation"), json={"decision": "revise", "comment": "Make it snow"})
        told_world.until(run_id, IDEATION, revision=2)
        nobody.post(link(told_world, run_id, "ideation"), json={"decision": "approve"})
        told_world.until(run_id, PUBLISH)
        url = link(told_world, run_id, "publish")
        seen["review"] = nobody.get(url).json()
        seen["page"] = nobody.get(url, headers={"accept": "text/html"}).text
        seen["film"] = nobody.get(f"{url}/film")
        seen["part"] = nobody.get(f"{url}/film", headers={"range": "bytes=0-99"})
        seen["answer"] = nobody.post(url, json={"decision": "approve"})
        told_world.until(run_id, "completed")
        seen["film afterwards"] = nobody.get(f"{url}/film")
    for _ in range(200):
        if len(module_receiver.of(run_id)) == 4:
            break
        time.sleep(0.05)
    record = told_world.client.get(f"/v1/runs/{run_id}/history").json()
    # They may arrive in any order: their timestamps tell which was first.
    in_order = sorted(module_receiver.of(run_id), key=lambda each: datetime.fromisoformat(each["timestamp"]))
    return {"run": told_world.run(run_id), "record": record, "heard": in_order, **seen}


def link(app: App, run_id: str, gate: str) -> str:
    """A link to the open review, at the address where it answers here."""
    url: str = app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": gate}).json()["url"]
    assert url.startswith(f"{PUBLIC}/review/")
    return url.replace(PUBLIC, app.url)


def test_a_film_can_be_watched_by_link(done: dict[str, Any]) -> None:
    """Whole or in part, as long as the link is good; the page plays it."""
    film, part = done["film"], done["part"]

    assert (film.status_code, film.headers["content-type"]) == (200, "video/mp4")
    assert len(film.content) > 1000
    assert (part.status_code, part.content) == (206, film.content[:100])
    assert "no-referrer" in film.headers["referrer-policy"]
    assert done["film afterwards"].status_code == 410
    assert done["review"]["film_url"] in "/review/" + done["page"].partition('src="')[2] or "/film#t" in done["page"]
    for words in (done["review"]["content"]["caption"], "Approve and publish", "made with AI"):
        assert words in done["page"]


def test_the_due_time_is_shown_to_the_reviewer(done: dict[str, Any]) -> None:
    """In words on the page, and as a time in JSON."""
    assert datetime.fromisoformat(done["review"]["due_at"]) > datetime.fromisoformat(done["review"]["opened_at"])
    assert "Please decide by" in done["page"]


def test_the_outside_is_told_of_each_turn(done: dict[str, Any]) -> None:
    """Every review that opens, and the end."""
    told = [(each["type"], each["data"].get("gate"), each["data"].get("revision")) for each in done["heard"]]

    assert told == [
        ("run.awaiting_approval", "ideation", 1),
        ("run.awaiting_approval", "ideation", 2),
        ("run.awaiting_approval", "publish", 1),
        ("run.completed", None, None),
    ]
    assert done["heard"][-1]["data"] == {"run_id": done["run"]["run_id"], "status": "completed"}
    assert all("due_at" in each["data"] for each in done["heard"][:3])


def test_the_record_is_complete(done: dict[str, Any], told_world: App) -> None:
    """Every revision, decision, take, charge and post, in order."""
    run_id, record = done["run"]["run_id"], done["record"]
    counted = Counter(line["what"] for line in record["lines"])

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
    for what, query in (
        ("revision", "select 1 from events where run_id = %s and kind = 'review.opened'"),
        ("decision", "select 1 from decisions where run_id = %s"),
        ("take", "select 1 from orders where run_id = %s and kind = 'clip'"),
        ("charge", "select 1 from orders where run_id = %s and spent_usd > 0"),
        ("post", "select 1 from orders where run_id = %s and kind = 'publication'"),
    ):
        assert counted[what] == len(told_world.rows(query, run_id)), what
    times = [line["at"] for line in record["lines"]]
    assert times == sorted(times)
    assert [line["what"] for line in record["lines"]][:4] == ["start", "revision", "link", "decision"]


def test_the_record_says_who_and_when(done: dict[str, Any], told_world: App) -> None:
    """Each line has a time, a sentence, and somebody; decisions have their number and hash."""
    lines = done["record"]["lines"]
    made = [line for line in lines if line["what"] == "decision"]
    rows = told_world.in_loop(decisions.list_decisions(told_world.parts.services.db, done["run"]["run_id"]))

    assert all(line["who"] and line["text"].strip() and datetime.fromisoformat(line["at"]) for line in lines)
    assert [(line["details"]["number"], line["details"]["hash"], line["who"]) for line in made] == [
        (row["number"], row["hash"], row["decided_by"]) for row in rows
    ]
    assert made[0]["text"] == "Revision 1 at the ideation gate was sent back for changes: “Make it snow”"
    [charge] = [line for line in lines if line["what"] == "charge"]
    assert charge["text"] == f"{charge['who']} charged 0.30 USD for take 1 of clip 1."
    [ordered] = [line for line in lines if line["what"] == "order" and line["details"]["kind"] == "clip"]
    assert ordered["details"]["approved_by"] == rows[1]["decided_by"]


def test_the_record_adds_up(done: dict[str, Any]) -> None:
    """Its totals are those of the run."""
    assert done["record"]["totals"] == {
        "revisions": {"ideation": 2, "publish": 1},
        "decisions": 3,
        "takes": 1,
        "posts": 1,
        "spent_usd": 0.3,
        "reserved_usd": 0.0,
        "charged_usd": {"clip": 0.3},
    }
    assert done["run"]["cost"]["spent_usd"] == 0.3
    assert [notice["state"] for notice in done["record"]["notices"]] == ["delivered"] * 4


def test_every_review_is_listed_with_what_became_of_it(done: dict[str, Any], told_world: App) -> None:
    """In order, with the decision, and with what changed since the one before."""
    reviews = told_world.client.get(f"/v1/runs/{done['run']['run_id']}/reviews").json()["reviews"]

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
        for part in change["at"].split("."):
            key: Any = int(part) if part.isdecimal() else part
            before, after = before[key], after[key]
        assert (before, after) == (change["before"], change["after"])


def test_misfortunes_stand_in_the_record(told_world: App, sandbox: SandboxClient) -> None:
    """A clip that failed and gave its money back, a person's retry, a cancelled run: each has its line."""
    run_id = told_world.start()
    told_world.until(run_id, IDEATION)
    sandbox.fault("fail", times=2)
    told_world.decide(run_id, "ideation")
    for _ in range(400):
        if told_world.run(run_id)["status"] == "failed":
            break
        time.sleep(0.05)
    assert told_world.run(run_id)["error"]["retryable"]
    sandbox.clear()
    told_world.client.post(f"/v1/runs/{run_id}/retry")
    told_world.client.post(f"/v1/runs/{run_id}/cancel")
    record = told_world.client.get(f"/v1/runs/{run_id}/history").json()
    lines = [(line["what"], line["text"]) for line in record["lines"]]

    failed = [text for what, text in lines if what == "take"]
    assert len(failed) >= 2
    assert all("came to nothing" in text or "was not ordered" in text for text in failed)
    assert any(text.endswith("0.30 USD were given back.") for text in failed)
    assert ("retry", "The run was tried again.") in lines
    assert ("cancel", "The run was cancelled.") in lines
    assert record["totals"]["spent_usd"] == 0
    assert "end" in [what for what, _ in lines]
    assert json.dumps(record)


def test_of_a_run_that_is_not_there_there_is_no_record(told_world: App) -> None:
    """404, and without a key 401."""
    nowhere = "/v1/runs/00000000-0000-4000-8000-000000000000"
    for path in ("history", "reviews"):
        assert told_world.client.get(f"{nowhere}/{path}").status_code == 404
        assert httpx.get(f"{told_world.url}{nowhere}/{path}").status_code == 401
