"""The chat in Chromium: an answer as it is written, decisions by a click, the keyboard, errors, and no script."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.app import ANNA, App, SandboxClient
from tests.chat.conftest import served_with
from tests.console.chromium import Tab
from tests.console.seeds import HOSTILE, THREE, Seeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class SlowModel:
    """A model that streams a hostile text in two pieces, the second one after `go_on` was set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self._send({"role": "assistant", "content": "It rains. "})
                model.go_on.wait(60)
                self._send({"content": HOSTILE})
                self._send({}, "stop")
                self.wfile.write(b"data: [DONE]\n\n")

            def _send(self, delta: dict[str, str], reason: str | None = None) -> None:
                choice = {"index": 0, "delta": delta, "finish_reason": reason}
                head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "slow"}
                self.wfile.write(f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode())
                self.wfile.flush()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def slow_model() -> Iterator[SlowModel]:
    """The model, which has not gone on."""
    model = SlowModel()
    yield model
    model.close()


def decisions(app: App, run_id: UUID) -> list[tuple[str, str, str]]:
    """Return the verdict, the actor and the channel of each decision about a run."""
    rows = app.rows("select verdict, actor_name, channel from decisions where run_id = %s", run_id)
    return [(row["verdict"], row["actor_name"], row["channel"]) for row in rows]


def answers(tab: Tab) -> Locator:
    """Return the answers of the supervisor."""
    return tab.page.locator("#chat-log .assistant")


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_an_answer_is_streamed(
    quiet_app: App, browser_process: Browser, seeds: Seeds, slow_model: SlowModel, device: str
) -> None:
    """Its first words are shown while the others are not written yet; a text of the model is no markup."""
    run_id = seeds.ideation()
    with served_with(quiet_app, slow_model) as url:  # type: ignore[arg-type]
        tab = Tab(browser_process, url, is_phone=device == "phone")
        tab.sign_in(ANNA)
        tab.page.goto(f"/runs/{run_id}")
        tab.page.get_by_role("link", name="Chat").click()
        tab.page.get_by_label("Message").fill("How is this run?")
        tab.page.get_by_role("button", name="Send").click()
        expect(answers(tab)).to_have_text("It rains.")
        expect(tab.page.locator("#chat-log .user")).to_have_text("How is this run?")
        tab.check()
        slow_model.go_on.set()
        expect(answers(tab)).to_contain_text("It rains. <script>")
        expect(tab.page.get_by_label("Message")).to_have_value("")
        expect(tab.page.locator("#chat-status")).to_contain_text("It rains.")
        assert tab.page.locator("#chat-log img, #chat-log script").count() == 0
        tab.page.reload()
        if device == "phone":
            tab.page.get_by_role("link", name="Chat").click()
        expect(answers(tab)).to_contain_text("It rains. <script>")
        tab.check()
        tab.close()


def test_a_decision_after_a_reload(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """What was prepared is there after a reload, on another page too; a double click decides once."""
    run_id = seeds.ideation(content=THREE, title=HOSTILE)
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}/ideation")
    page.get_by_role("link", name="Chat").click()
    page.get_by_label("Message").fill("Approve it")
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name="Confirm: approve for 0.90 USD")
    expect(button).to_be_visible()
    expect(page.locator(".pending")).to_contain_text("Steam rises from a cup.")
    tab.check()
    assert decisions(quiet_app, run_id) == []
    page.goto("/inbox")
    page.reload()
    if not page.locator("dialog.chat").is_visible():
        page.get_by_role("link", name="Chat").click()
    expect(button).to_be_visible()
    button.dblclick()
    expect(answers(tab).last).to_contain_text("Approved by settings key 1")
    expect(button).to_have_count(0)
    assert decisions(quiet_app, run_id) == [("approve", "settings key 1", "chat")]
    tab.check()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("dialog.chat")).to_be_hidden()
    page.goto(f"/runs/{run_id}")
    expect(page.locator("#decisions ~ ol")).to_contain_text("settings key 1 (chat)")


def test_the_keyboard_alone(tab: Tab, seeds: Seeds, quiet_app: App) -> None:
    """The panel opens by a key, which `?` names; it is left by Escape; a decision is confirmed or withdrawn by tabs."""
    run_id = seeds.ideation()
    tab.sign_in(ANNA)
    keys, page = tab.page.keyboard, tab.page
    page.goto(f"/runs/{run_id}")
    keys.press("?")
    expect(page.locator("#keys")).to_contain_text("Open the chat")
    tab.check()
    keys.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    keys.press("m")
    expect(page.get_by_label("Message")).to_be_focused()
    keys.type("Reject it")
    keys.press("Shift+Enter")
    keys.press("Enter")
    expect(page.locator(".pending")).to_contain_text("End the run")
    expect(page.get_by_label("Message")).to_be_focused()
    page.get_by_role("button", name="Withdraw").focus()
    keys.press("Enter")
    expect(answers(tab).last).to_contain_text("Nothing was decided.")
    expect(page.get_by_label("Message")).to_be_focused()
    keys.type("Ask for changes: more rain")
    keys.press("Enter")
    expect(page.get_by_role("button", name="Confirm: request changes")).to_be_visible()
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    expect(page.get_by_role("button", name="Confirm: request changes")).to_be_focused()
    keys.press("Enter")
    expect(answers(tab).last).to_contain_text("Changes requested")
    keys.press("Escape")
    expect(page.locator("dialog.chat")).to_be_hidden()
    expect(page.get_by_role("link", name="Chat")).to_have_attribute("aria-expanded", "false")
    assert decisions(quiet_app, run_id) == [("revise", "settings key 1", "chat")]


def test_errors_keep_what_was_typed(tab: Tab, seeds: Seeds, sandbox: SandboxClient, quiet_app: App) -> None:
    """A model that fails, a text that is too long, a session that has ended: a sentence, and the text is there."""
    tab.sign_in(ANNA)
    page = tab.page
    page.goto("/costs")
    page.get_by_role("link", name="Chat").click()
    problem, field = page.locator("#chat-problem"), page.get_by_label("Message")
    expect(field).to_be_focused()
    sandbox.fault("llm_401", None)
    field.fill("What projects are there?")
    page.keyboard.press("Enter")
    expect(problem.locator(".problem")).to_be_visible()
    expect(field).to_have_value("What projects are there?")
    expect(page.locator("#chat-log .user")).to_have_count(0)
    tab.check()
    sandbox.clear()
    page.keyboard.press("Enter")
    expect(page.locator("#chat-log .user")).to_have_count(1)
    expect(answers(tab)).to_contain_text("tiny")
    expect(problem).to_be_empty()
    field.fill("W" * 100_001)
    page.keyboard.press("Enter")
    expect(problem).to_contain_text("must have 1 to 100,000 characters")
    field.fill("Where is my film?")
    tab.context.clear_cookies()
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-in?next=/costs")
    page.get_by_label("API key").fill(ANNA)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/costs")
    if not page.locator("dialog.chat").is_visible():
        page.get_by_role("link", name="Chat").click()
    expect(field).to_have_value("Where is my film?")
    tab.reported.clear()  # the browser reports the status 401


def test_the_service_is_away(quiet_app: App, browser_process: Browser, seeds: Seeds, sandbox: SandboxClient) -> None:
    """A message that could not be sent stays in the field, with a sentence."""
    with App(quiet_app.settings, sandbox, with_worker=False) as app:
        tab = Tab(browser_process, app.url)
        tab.sign_in(ANNA)
        tab.page.goto("/costs")
        tab.page.keyboard.press("m")
        tab.page.get_by_label("Message").fill("Where is my film?")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#chat-problem")).to_contain_text("The service does not answer.")
    expect(tab.page.get_by_label("Message")).to_have_value("Where is my film?")
    tab.reported.clear()  # the browser reports that the service did not answer
    tab.close()


def test_without_a_script(browser_process: Browser, seeds: Seeds, quiet_app: App) -> None:
    """The chat is a page: a question about the run of the page it was opened on, and a decision, by forms alone."""
    run_id = seeds.ideation()
    tab = Tab(browser_process, quiet_app.url, java_script_enabled=False, is_phone=True)
    tab.sign_in(ANNA)
    page = tab.page
    page.goto(f"/runs/{run_id}")
    page.get_by_role("link", name="Chat").click()
    for text in ("How is this run?", "Approve it"):
        page.get_by_label("Message").fill(text)
        page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Confirm: approve").click()
    expect(answers(tab).last).to_contain_text("Approved by settings key 1")
    assert decisions(quiet_app, run_id) == [("approve", "settings key 1", "chat")]
    tab.close()
