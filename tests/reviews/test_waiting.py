"""A run in trouble says what it waits for and why, requests attention after five minutes, and goes on when mended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.app import App, SandboxClient, open_app
from tests.reviews.conftest import Receiver, notification_settings

GATE = "awaiting_ideation_approval"
#: The run has to show its trouble within so many seconds.
SHOWN_WITHIN_SECONDS = 10.0


@pytest.fixture(scope="module")
def app(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    module_receiver: Receiver,
    deadline_projects: Path,
) -> Iterator[App]:
    """The product with a worker; its notifications go to the receiver, and clips are only polled."""
    settings = notification_settings(module_receiver, deadline_projects)
    with open_app(postgres_server, migrated_template, sandbox_process, webhooks=False, **settings) as opened:
        yield opened


def until(app: App, run_id: str, condition: Callable[[dict[str, Any]], bool], seconds: float = 30) -> dict[str, Any]:
    """Wait for a condition and return the run."""
    deadline = time.monotonic() + seconds
    while not condition(run := app.run(run_id)):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def in_trouble(run: dict[str, Any]) -> bool:
    return run["waiting"] is not None and run["waiting"]["code"] is not None


def let_minutes_pass(app: App, run_id: str, minutes: int = 6) -> None:
    """Move the beginning of the troubles of a run into the past."""
    moved = f"update troubles set since = since - interval '{minutes} minutes' where run_id = %s returning 1"
    assert len(app.rows(moved, run_id)) == 1


def kinds(app: App, run_id: str) -> list[str]:
    return [event["kind"] for event in app.events(run_id)]


@dataclass(frozen=True)
class Trouble:
    """A trouble: how it begins and ends, at which step, and what the run says."""

    step: str
    begin: Callable[[App], object]
    code: str
    words: str
    end: Callable[[App], object] = lambda app: app.sandbox.clear()


def fault(name: str, **params: Any) -> Callable[[App], None]:
    return lambda app: app.sandbox.fault(name, times=None, **params)


def break_folder(name: str) -> Callable[[App], None]:
    """Put a file in the place of a folder of the data folder: nothing can be written there."""

    def begin(app: App) -> None:
        folder = app.settings.data_dir / name
        if folder.exists():
            folder.rename(folder.with_name("kept"))
        folder.touch()

    return begin


def mend_folder(name: str) -> Callable[[App], None]:
    def end(app: App) -> None:
        folder = app.settings.data_dir / name
        folder.unlink()
        if folder.with_name("kept").exists():
            folder.with_name("kept").rename(folder)
        folder.mkdir(exist_ok=True)

    return end


TROUBLES = {
    "model 500": Trouble("start", fault("llm_500_html"), "model_unavailable", "The language model (127.0.0.1:"),
    "moderation 500": Trouble("start", fault("moderation_500"), "unexpected_response", "moderation service (127."),
    "create 401": Trouble("clip", fault("video_401"), "api_key_rejected", "The video service (127.0.0.1:"),
    "create 429": Trouble("clip", fault("create_429"), "rate_limited", "The video service (127.0.0.1:"),
    "status 401": Trouble("ordered", fault("video_401"), "api_key_rejected", "The video service (127.0.0.1:"),
    "status 500": Trouble("ordered", fault("status_500"), "unexpected_response", "The video service (127.0.0.1:"),
    "html clip": Trouble("clip", fault("content_html"), "not_a_file", "The video service (127.0.0.1:"),
    "full disk": Trouble(
        "clip", break_folder("scratch"), "disk_unwritable", "MYLOWARE_DATA_DIR: ", mend_folder("scratch")
    ),
    "store": Trouble(
        "clip", break_folder("artifacts/sha256"), "store_unavailable", "MYLOWARE_DATA_DIR: the store",
        mend_folder("artifacts/sha256"),
    ),
    "upload 401": Trouble("publish", fault("upload_401"), "api_key_rejected", "Upload-Post (127.0.0.1:"),
    "upload status 500": Trouble("publish", fault("upload_status_500"), "unexpected_response", "Upload-Post (127."),
}  # fmt: skip


def begin(app: App, trouble: Trouble) -> str:
    """Start a run, begin the trouble at its step, and return the run's id."""
    if trouble.step == "start":
        trouble.begin(app)
        return app.start("A heron in the reeds")
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    if trouble.step == "publish":
        app.decide(run_id, "ideation")
        app.until(run_id, "awaiting_publish_approval")
        trouble.begin(app)
        app.decide(run_id, "publish")
    elif trouble.step == "ordered":
        app.sandbox.fault("slow", seconds=2.0)
        app.decide(run_id, "ideation")
        app.until_true(run_id, lambda _: "order.submitted" in kinds(app, run_id))
        trouble.begin(app)
    else:
        trouble.begin(app)
        app.decide(run_id, "ideation")
    return run_id


#: The troubles of the fast suite; the slow one has all of them.
FAST = ("model 500", "status 401", "html clip", "full disk", "store")


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in TROUBLES]
)
@pytest.mark.slow
def test_trouble_is_shown_noticed_and_mended(app: App, sandbox: SandboxClient, receiver: Receiver, name: str) -> None:
    """The run names the server or the setting within seconds, requests attention later, and goes on when mended."""
    trouble = TROUBLES[name]
    run_id = begin(app, trouble)
    run = until(app, run_id, in_trouble, SHOWN_WITHIN_SECONDS)
    waiting = run["waiting"]

    assert waiting["code"] == trouble.code
    assert trouble.words in waiting["last_answer"]
    assert waiting["last_answer"].endswith(".")
    assert (run["error"], run["needs_attention"]) == (None, False)
    assert waiting["attempts"] >= 1
    assert waiting["next_attempt_at"] is not None
    let_minutes_pass(app, run_id)
    run = until(app, run_id, lambda run: bool(run["needs_attention"]))
    assert run["waiting"]["code"] == trouble.code
    [notice] = until_notified(receiver, run_id)
    assert trouble.words in notice["data"]["message"]
    assert notice["data"]["what"] == waiting["what"]

    trouble.end(app)
    answer = app.client.post(f"/v1/runs/{run_id}/retry")
    assert answer.status_code == 200, answer.text
    run = until(app, run_id, lambda run: not in_trouble(run) and not run["needs_attention"])
    happened = kinds(app, run_id)
    assert happened.count("run.needs_attention") == happened.count("run.attention_ended") == 1
    if trouble.step == "publish":
        run = app.until(run_id, "completed")
        assert len(sandbox.posts(run["artifacts"]["final_video"]["digest"])) == 1
    elif trouble.step != "start":
        app.until_true(run_id, lambda _: "order.settled" in kinds(app, run_id))
        assert len(sandbox.charges(run_id)) == 1
    else:
        app.until(run_id, GATE)
    # Its render would delay the next test.
    app.client.post(f"/v1/runs/{run_id}/cancel")


def until_notified(receiver: Receiver, run_id: str) -> list[dict[str, Any]]:
    """Wait for the notices about a run that needs attention."""
    deadline = time.monotonic() + 15
    while not (found := [n for n in receiver.notifications_of(run_id) if n["type"] == "run.needs_attention"]):
        assert time.monotonic() < deadline, [request.body for request in receiver.requests]
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_moderated_clip_behind_a_proxy_is_given_up(app: App, sandbox: SandboxClient) -> None:
    """A status that is 500 for ever: a person stops waiting, and a retry orders the clip again with a code."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("fail")
    sandbox.fault("status_500", times=None)
    app.decide(run_id, "ideation")
    until(app, run_id, in_trouble)

    path = f"/v1/runs/{run_id}/retry"
    assert app.client.post(path, json={"stop_waiting": True}).status_code == 200
    failed = app.until(run_id, "failed")
    assert failed["error"]["code"] == "clip_outcome_unknown"
    assert (failed["waiting"], failed["needs_attention"]) == (None, False)
    assert len(sandbox.charges(run_id)) == 1
    sandbox.clear()
    # The proxy works again: the clip has failed after all, and needs no declaration.
    assert app.client.post(path).status_code == 200
    app.until_true(run_id, lambda _: len(sandbox.charges(run_id)) == 2)
    app.client.post(f"/v1/runs/{run_id}/cancel")


@pytest.mark.slow
def test_order_that_was_not_sent_is_given_up(app: App, sandbox: SandboxClient) -> None:
    """Nothing was sent: the run fails, and a retry needs no code."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("create_429", times=None)
    app.decide(run_id, "ideation")
    until(app, run_id, in_trouble)

    path = f"/v1/runs/{run_id}/retry"
    assert app.client.post(path, json={"drop": [1]}).json()["error"]["code"] == "run_not_retryable"
    assert app.client.post(path, json={"stop_waiting": True}).status_code == 200
    assert app.until(run_id, "failed")["error"]["code"] == "not_awaited"
    again = app.client.post(path, json={"stop_waiting": True})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "run_not_retryable")
    assert sandbox.charges(run_id) == []
    sandbox.clear()
    assert app.client.post(path).status_code == 200
    app.until_true(run_id, lambda _: "order.settled" in kinds(app, run_id))
    app.client.post(f"/v1/runs/{run_id}/cancel")
    assert len(sandbox.charges(run_id)) == 1


@pytest.mark.parametrize("form", ["capitals", "error_text", "http_500"])
@pytest.mark.slow
def test_failed_job_in_an_odd_form_fails(app: App, sandbox: SandboxClient, form: str) -> None:
    """The clip is ordered again within the project's limit."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("fail", code="generation_failed")
    sandbox.fault("failed_oddly", times=None, form=form)
    app.decide(run_id, "ideation")
    app.until_true(run_id, lambda _: "order.settled" in kinds(app, run_id))
    app.client.post(f"/v1/runs/{run_id}/cancel")

    assert len(sandbox.charges(run_id)) == 2


@pytest.mark.slow
def test_trouble_is_logged_once(app: App, sandbox: SandboxClient, caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins and one when it ends, however many attempts there were."""
    run_id = app.start("A heron in the reeds")
    app.until(run_id, GATE)
    sandbox.fault("content_html", times=None)
    with caplog.at_level(logging.WARNING):
        app.decide(run_id, "ideation")
        until(app, run_id, lambda run: in_trouble(run) and run["waiting"]["attempts"] >= 4)
        sandbox.clear()
        until(app, run_id, lambda run: not in_trouble(run))
    app.client.post(f"/v1/runs/{run_id}/cancel")

    lines = [record for record in caplog.records if run_id in record.getMessage()]
    assert [line.getMessage().rpartition(" ")[2] for line in lines] == ["(not_a_file)", "(not_a_file)"]
    assert not any(line.exc_info for line in lines)


def test_run_without_trouble_says_what_it_waits_for(app: App, sandbox: SandboxClient) -> None:
    """The order, its provider and the time of the next poll; null at a gate and after the end."""
    run_id = app.start("A heron in the reeds")
    assert app.until(run_id, GATE)["waiting"] is None
    sandbox.fault("slow", seconds=3.0)
    app.decide(run_id, "ideation")
    run = until(app, run_id, lambda run: bool(run["waiting"]) and run["waiting"]["what"] == "clip 1")
    app.client.post(f"/v1/runs/{run_id}/cancel")

    assert run["waiting"]["provider"].startswith("videos:127.0.0.1:")
    assert (run["waiting"]["code"], run["waiting"]["last_answer"], run["waiting"]["attempts"]) == (None, None, 0)
    assert app.run(run_id)["waiting"] is None
