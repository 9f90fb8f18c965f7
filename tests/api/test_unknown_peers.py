"""Clients without a key: slow ones, many of them, and those that name another host."""

from __future__ import annotations

import logging
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from api import http_server
from api.http_server import MAX_CONNECTIONS, LimitedProtocol, RepeatedMessages
from runs.event_feed import MAX_STREAMS_PER_KEY
from tests.app import App, SandboxClient, open_app

HEAD = b"POST /v1/runs/start HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def connect(app: App) -> socket.socket:
    """Return a new connection to the API."""
    parts = urlsplit(app.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


@contextmanager
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shorten the time limits of requests to fractions of a second."""
    with monkeypatch.context() as patch:
        patch.setattr(http_server, "HEAD_TIMEOUT_SECONDS", 0.3)
        patch.setattr(http_server, "REQUEST_TIMEOUT_SECONDS", 0.6)
        yield


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        b"\r\n",
        HEAD,
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /he",
    ],
    ids=["nothing", "one byte", "empty line", "head", "body", "chunk", "second request"],
)
def test_an_incomplete_request_is_closed(quiet_app: App, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """The client is answered with 408 and the connection is closed, whatever part of the request is missing."""
    with short_timeouts(monkeypatch), connect(quiet_app) as client:
        client.sendall(sent)
        received = b"".join(iter(lambda: client.recv(4096), b""))

    assert received.count(b"HTTP/1.1 408 Request Timeout") == 1
    assert received.count(b'{"error":{"code":"request_timeout"') == 1


def test_a_client_that_sends_byte_by_byte_is_closed(quiet_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not extend the time."""
    with short_timeouts(monkeypatch), connect(quiet_app) as client, pytest.raises(OSError):  # noqa: PT011, PT012
        for byte in HEAD * 10:
            client.sendall(bytes([byte]))
            time.sleep(0.02)


def test_an_endless_head_is_refused(quiet_app: App) -> None:
    """A head of more than 64 KiB is not read to its end."""
    with connect(quiet_app) as client:
        client.sendall(HEAD)
        for number in range(66):
            with suppress(ConnectionError):
                client.sendall(b"X-Filler-%d: %s\r\n" % (number, b"x" * 1024))
        assert client.recv(4096).startswith(b"HTTP/1.1 431")


def test_connections_beyond_the_bound_replace_waiting_ones(quiet_app: App) -> None:
    """More idle connections than the bound leave the service reachable; the oldest are closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > 3 * MAX_CONNECTIONS
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * MAX_CONNECTIONS), hard))
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(quiet_app)) for _ in range(MAX_CONNECTIONS + 50)]
        for client in clients[-100:]:
            client.sendall(b"G")
        with httpx.Client(base_url=quiet_app.url) as fresh:
            assert fresh.get("/health").status_code == 200
        assert clients[0].recv(1) == b""
        clients[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            clients[-1].recv(1)


def test_the_bound_of_a_server_closes_no_connection_of_another(app: App, quiet_app: App) -> None:
    """Two servers of one process count their connections separately."""
    with ExitStack() as stack:
        others = [stack.enter_context(connect(app)) for _ in range(60)]
        clients = [stack.enter_context(connect(quiet_app)) for _ in range(MAX_CONNECTIONS + 50)]
        with httpx.Client(base_url=quiet_app.url) as fresh:
            assert fresh.get("/health").status_code == 200

        assert [client.recv(1) for client in clients[:50]] == [b""] * 50
        for other in others:
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.recv(1)


def test_a_request_in_progress_is_not_closed_for_a_new_connection(quiet_app: App) -> None:
    """An open event stream stays open when idle connections exceed the bound."""
    run_id = quiet_app.start("Fog on a lake")
    headers = {"Accept": "text/event-stream"}
    with quiet_app.client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as stream, ExitStack() as stack:
        lines = stream.iter_lines()
        assert next(lines)
        for _ in range(MAX_CONNECTIONS + 10):
            stack.enter_context(connect(quiet_app))
        quiet_app.client.post(f"/v1/runs/{run_id}/cancel")
        assert any("run.failed" in line or "cancel" in line for line in lines)


def test_repeated_messages_are_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next message after a minute says how many were left out."""
    now = 100.0
    monkeypatch.setattr(http_server.time, "monotonic", lambda: now)
    repeated = RepeatedMessages()

    def log(message: str, *args: object) -> str | None:
        record = logging.LogRecord("asyncio", logging.ERROR, "", 0, message, args, None)
        return record.getMessage() if repeated.filter(record) else None

    assert [log("accept failed: %s", number) for number in range(4)] == ["accept failed: 0", None, None, None]
    assert log("another message") == "another message"
    now = 161.0
    assert log("accept failed: %s", 9) == "accept failed: 9 (3 more in the last minute)"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", "", "10.1.2.3"])
@pytest.mark.parametrize(
    "path", ["/v1/runs", "/docs", "/openapi.json", "/review/some-token", "/mcp", "/static/page.css"]
)
def test_other_hosts_are_refused(quiet_app: App, host: str, path: str) -> None:
    """Pages and API are served to the address of the service only."""
    answer = quiet_app.client.get(path, headers={"Host": host})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "host_not_allowed")


def test_probes_and_webhooks_may_name_any_host(quiet_app: App) -> None:
    """They need no name: probes reveal nothing, webhooks are signed."""
    headers = {"Host": "evil.example"}
    assert quiet_app.client.get("/health", headers=headers).status_code == 200
    answer = quiet_app.client.post("/v1/webhooks/sora", content=b"{}", headers=headers)
    assert answer.json()["error"]["code"] == "invalid_signature"


@pytest.fixture(scope="module")
def named_app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product with a public URL and another host name."""
    with open_app(
        postgres_server,
        migrated_template,
        sandbox_process,
        public_url="https://studio.example",
        allowed_hosts=["other.example"],
    ) as opened:
        yield opened


def test_links_name_the_address_of_the_service(app: App, named_app: App) -> None:
    """It is the public URL, or the address that the service listens on, whatever the headers of a request say."""
    hosts = {app: ["localhost:1", "127.0.0.1:99"], named_app: ["localhost", "STUDIO.example.:443", "other.example"]}
    for served, base in ((app, app.url), (named_app, "https://studio.example")):
        run_id = served.start("Fog on a lake")
        served.until(run_id, "awaiting_ideation_approval")
        for host in hosts[served]:
            headers = {"Host": host, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "ftp"}
            answer = served.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation"}, headers=headers)
            assert answer.json()["url"].startswith(f"{base}/review/"), answer.text


def test_an_api_key_can_have_32_event_streams(quiet_app: App) -> None:
    """One more is refused until one of them is closed."""
    path, headers = f"/v1/runs/{quiet_app.start('Fog on a lake')}/events", {"Accept": "text/event-stream"}
    with ExitStack() as stack:
        with ThreadPoolExecutor(MAX_STREAMS_PER_KEY + 8) as callers:
            opened = list(
                callers.map(
                    lambda _: stack.enter_context(quiet_app.client.stream("GET", path, headers=headers)),
                    range(MAX_STREAMS_PER_KEY + 8),
                )
            )
        refused = [answer for answer in opened if answer.status_code == 429]
        assert len(refused) == 8
        refused[0].read()
        assert refused[0].json()["error"]["code"] == "too_many_streams"
        assert refused[0].json()["retry_after_seconds"] == int(refused[0].headers["retry-after"]) > 0
        for answer in opened:
            answer.close()
        deadline = time.monotonic() + 10
        while (again := stack.enter_context(quiet_app.client.stream("GET", path, headers=headers))).status_code == 429:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert again.status_code == 200


def test_answers_are_sent_without_delay(quiet_app: App) -> None:
    """Small packets are not collected: TCP_NODELAY is set on accepted connections."""
    with connect(quiet_app) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        waiting = [c for server in LimitedProtocol.__subclasses__() for c in server.waiting]
        [accepted] = [c for c in waiting if c.client == client.getsockname()]
        connection = accepted.transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
