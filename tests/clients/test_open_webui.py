"""Open WebUI in Chromium: from a question to a published film, with its titles, tags and follow-ups switched on.

It needs Open WebUI in an environment of its own, named by OPEN_WEBUI, and is skipped without it. What Open WebUI
requests is written to OPEN_WEBUI_RECORD, for `tests/chat/test_open_webui.py`; pictures to OPEN_WEBUI_PICTURES.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Page, expect
from psycopg.rows import dict_row

from storage.embedded_postgres import EmbeddedPostgres
from tests.chat.conversation import confirmation
from tests.clients.recording_proxy import Exchange, RecordingProxy
from tests.console.chromium import DESKTOP, chromium
from tests.docs.test_quickstart import ENVIRONMENT, running_server
from tests.storage.test_s3 import free_port

PROGRAM = os.environ.get("OPEN_WEBUI", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not PROGRAM, reason="OPEN_WEBUI does not name the program of Open WebUI"),
]
START_SECONDS = 600
SERVE = ".venv/bin/myloware serve --sandbox --port $PORT"
#: The settings of the README, and those that keep Open WebUI from loading models and asking for accounts.
SETTINGS = {
    "DEFAULT_MODELS": "supervisor",
    "ENABLE_FORWARD_USER_INFO_HEADERS": "true",
    "ENABLE_OLLAMA_API": "false",
    "ENABLE_PERSISTENT_CONFIG": "false",
    "HF_HUB_OFFLINE": "1",
    "OFFLINE_MODE": "true",
    "RAG_EMBEDDING_ENGINE": "openai",
    "WEBUI_AUTH": "False",
    "WEBUI_SECRET_KEY": "only-for-this-test",
    **dict.fromkeys(
        ["ENABLE_TITLE_GENERATION", "ENABLE_TAGS_GENERATION", "ENABLE_FOLLOW_UP_GENERATION"],
        "true",
    ),
}


@contextmanager
def open_webui(api_url: str, key: str, folder: Path) -> Iterator[str]:
    """Run Open WebUI with this service as its only connection; yield its URL."""
    folder.mkdir()
    port = free_port()
    connection = {"OPENAI_API_BASE_URL": f"{api_url}/v1", "OPENAI_API_KEY": key, "DATA_DIR": str(folder)}
    url, log = f"http://127.0.0.1:{port}", folder / "open-webui.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [PROGRAM, "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env={**ENVIRONMENT, **SETTINGS, **connection},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _is_healthy(url):
                assert process.poll() is None, log.read_text()[-4000:]
                assert time.monotonic() < deadline, log.read_text()[-4000:]
                time.sleep(1)
            yield url
        finally:
            process.terminate()


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


class Person:
    """A person at Open WebUI. Each message waits for its answer and for the requests that follow it."""

    def __init__(self, page: Page, proxy: RecordingProxy) -> None:
        self.page, self.proxy, self.message_count = page, proxy, 0

    def say(self, text: str) -> str:
        """Send a message, and return the answer as the page shows it."""
        self.page.locator("#chat-input").click()
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Enter")
        self.message_count += 1
        self.proxy.until_answered(lambda each: not each.is_of_client, self.message_count)
        self.proxy.until_answered(lambda each: kind_of(each) == "follow_ups", self.message_count)
        time.sleep(2)
        # The page keeps only the messages that are in sight.
        expect(self.page.locator(".chat-user").last).to_contain_text(text)
        self._take_picture()
        return self.page.locator("#response-content-container").last.inner_text()

    def _take_picture(self) -> None:
        if folder := os.environ.get("OPEN_WEBUI_PICTURES"):
            self.page.screenshot(path=f"{folder}/open-webui-{self.message_count}.png")


def kind_of(exchange: Exchange) -> str:
    """Return what a request is for, by its own words: the person's `chat`, or the client's `title` and the like."""
    if not exchange.is_of_client:
        return "chat"
    words = re.search(r'JSON format: \{ "(\w+)"', exchange.last_message)
    return words[1] if words else "other"


def until(api: httpx.Client, run_id: str, status: str) -> None:
    """Wait for a status of the run."""
    deadline = time.monotonic() + 600
    while (run := api.get(f"/v1/runs/{run_id}").json())["status"] != status:
        assert run["status"] != "failed", run
        assert time.monotonic() < deadline, run
        time.sleep(1)


def neutral(exchanges: list[Exchange], placeholders: dict[str, str]) -> list[dict[str, Any]]:
    """Return the requests with placeholders for these texts and for each answer and code, and another person's id."""
    answers = [(each.answer or "").strip() for each in exchanges if not each.is_of_client]
    codes = [confirmation(answer).split()[1] for answer in answers if "send exactly" in answer]
    replaced = {name.lower(): value for name, value in exchanges[0].headers.items()}
    words = {
        **{answer: f"{{answer {number}}}" for number, answer in enumerate(answers, 1)},
        **{code: f"{{code {number}}}" for number, code in enumerate(codes, 1)},
        **placeholders,
        replaced["x-openwebui-chat-id"]: "{chat}",
        replaced["x-openwebui-user-id"]: "4c0c5e34-9f3e-4f4a-8a54-0d6a9e0c8f10",
        replaced["x-openwebui-user-email"]: "anna@example.com",
    }

    def neutralise(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: neutralise(each) for name, each in value.items()}
        if isinstance(value, list):
            return [neutralise(each) for each in value]
        if not isinstance(value, str):
            return value
        for word in sorted(words, key=len, reverse=True):
            value = value.replace(word, words[word])
        return re.sub("[0-9a-f]{20,}", "0000", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8900", value))

    for each in exchanges:
        # One of the client's own tools instead of all, which are 25 KB in each request.
        each.body = {name: value[:1] if name == "tools" else value for name, value in each.body.items()}
    return [
        {"kind": kind_of(each), "headers": neutralise(each.headers), "body": neutralise(each.body)}
        for each in exchanges
    ]


def rows(folder: Path, query: str) -> list[dict[str, Any]]:
    """Return the rows of a query of the service's own database."""
    dsn = EmbeddedPostgres(folder / "postgres").dsn
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


def test_from_a_question_to_a_published_film(tmp_path: Path) -> None:
    """A person asks, picks, approves twice by code; what the client requests for itself does nothing."""
    with running_server(SERVE, tmp_path) as url:
        data = tmp_path / "data" / "demo"
        key = re.search(r"shown only once: (\S+)", (tmp_path / "server.log").read_text())
        assert key
        sandbox = httpx.Client(
            base_url=f"http://127.0.0.1:{json.loads((data / 'sandbox/endpoint.json').read_text())['port']}"
        )
        api = httpx.Client(base_url=url, headers={"X-API-Key": key[1]})
        with (
            RecordingProxy(url) as proxy,
            open_webui(proxy.url, key[1], tmp_path / "client") as client_url,
            chromium() as browser,
        ):
            page = browser.new_page(viewport=DESKTOP)
            page.goto(client_url)
            page.get_by_role("button", name="Okay, Let's Go!").click(timeout=120_000)
            person = Person(page, proxy)
            person.say("What videos should I make today?")
            person.say("make the second one")
            [run] = api.get("/v1/runs").json()["runs"]
            until(api, run["run_id"], "awaiting_ideation_approval")
            assert "The ideation gate" in person.say("How is it going?")
            person.say(confirmation(person.say("approve it")))
            until(api, run["run_id"], "awaiting_publish_approval")
            assert "The publish gate" in person.say("How is it going?")
            person.say(confirmation(person.say("approve it")))
            until(api, run["run_id"], "completed")
            film = re.search(r"http\S+signature=[0-9a-f]{64}", person.say("Where is my film?"))

        if record := os.environ.get("OPEN_WEBUI_RECORD"):
            requests = neutral(proxy.exchanges, {key[1]: "{key}", run["run_id"]: "{run}", url: "{url}"})
            Path(record).write_text(json.dumps(requests, indent=2, ensure_ascii=False) + "\n")
        charges, posts = (sandbox.get(f"/sandbox/{name}").json() for name in ("charges", "posts"))
        kinds = Counter(kind_of(each) for each in proxy.exchanges)
        assert kinds == {"chat": person.message_count, "follow_ups": person.message_count, "title": 1, "tags": 1}
        assert [row["id"] for row in rows(data, "select id::text from runs")] == [run["run_id"]]
        decided = rows(data, "select gate, verdict, channel from decisions order by number")
        assert [tuple(row.values()) for row in decided] == [
            ("ideation", "approve", "chat"),
            ("publish", "approve", "chat"),
        ]
        pending = rows(data, "select verdict, used_at from pending_confirmations")
        assert [(row["verdict"], row["used_at"] is not None) for row in pending] == [("approve", True)] * 2
        ordered = Counter(row["kind"] for row in rows(data, "select kind from orders where kind != 'model'"))
        assert ordered == {"clip": len(charges), "render": 1, "publication": 1}
        assert (len(charges), len(posts)) == (3, 1)
        assert len(rows(data, "select 1 from chat_sessions")) == 1
        assert film
        assert httpx.get(film[0]).headers["content-type"] == "video/mp4"
