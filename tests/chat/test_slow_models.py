"""A language model that takes long: its client sees that it works, and leaves without a request behind."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from cli.display import ProgressReporter
from storage.events import list_events
from tests.app import ANNA, App, SandboxClient, open_app


class ThinkingServer:
    """A model server that accepts every request and never answers. It counts requests, and those that were ended."""

    def __init__(self) -> None:
        self.begun, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._think, args=(connection,), daemon=True).start()

    def _think(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(1024)
            self.begun.release()
            while connection.recv(65_536):
                pass
        self.ended.release()

    def close(self) -> None:
        """Accept no further connection."""
        self._listening.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ThinkingServer]:
    opened = ThinkingServer()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def slow_app(
    postgres_server: str, migrated_template: str, sandbox_process: SandboxClient, server: ThinkingServer
) -> Iterator[App]:
    """The product with a model that never answers, and moderation at the sandbox."""
    settings = {"openai_base_url": server.url, "moderation_base_url": f"{sandbox_process.url}/v1"}
    with open_app(postgres_server, migrated_template, sandbox_process, webhooks=False, **settings) as opened:
        yield opened


@pytest.mark.parametrize("model", ["supervisor", "utility"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_request(slow_app: App, server: ThinkingServer, model: str, stream: bool) -> None:
    """The connection to the model server is closed: it need not think for nobody."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream})
    headers = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": len(body), "X-API-Key": ANNA}
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    address = urlsplit(slow_app.url)
    with socket.create_connection((address.hostname, address.port)) as client:
        client.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{''.join(lines)}\r\n{body}".encode())
        assert server.begun.acquire(timeout=30)

    assert server.ended.acquire(timeout=10)


@pytest.mark.slow
def test_a_stream_begins_before_the_answer_and_can_be_left(slow_app: App, server: ThinkingServer) -> None:
    """After five seconds the client has the first chunk; when it leaves then, the request is ended, too."""
    body = {"model": "supervisor", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    headers = {"X-API-Key": ANNA, "X-Conversation-Id": str(uuid4())}
    with httpx.stream("POST", f"{slow_app.url}/v1/chat/completions", json=body, headers=headers, timeout=20) as answer:
        chunks = answer.iter_text()
        assert '"role":"assistant"' in next(chunks).replace(" ", "")
        assert not server.ended.acquire(timeout=1)

    assert server.begun.acquire(timeout=10)
    assert server.ended.acquire(timeout=10)


@pytest.mark.slow
def test_a_run_shows_the_step_whose_answer_it_waits_for(slow_app: App, server: ThinkingServer) -> None:
    """REST names the step and since when; the terminal names it beside its sign of progress."""
    run_id = slow_app.start("Rain on a roof")
    assert server.begun.acquire(timeout=20)
    run: dict[str, Any] = slow_app.run(run_id)
    reporter = ProgressReporter(False, None)
    for event in slow_app.in_loop(list_events(slow_app.state.services.db, run_id)):
        reporter.report_event(event)

    assert run["waiting"]["what"] == "the step supervisor"
    assert time.time() - time.mktime(time.strptime(run["waiting"]["since"][:19], "%Y-%m-%dT%H:%M:%S")) < 60
    assert "supervisor" in str(reporter.status.status)
