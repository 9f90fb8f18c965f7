"""The HTTP server: uvicorn with uvloop and httptools, limits for slow clients, and a bound on connections."""

import asyncio
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import ClassVar
from uuid import uuid4

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.app import create_app
from api.errors import ApiError
from api.listening import url_of
from api.middleware import ENDS_AT_STOP
from api.wiring import AppState

GRACEFUL_SHUTDOWN_SECONDS = 5
#: How long a client may take to send the head of a request, and a whole request.
HEAD_TIMEOUT_SECONDS = 10.0
REQUEST_TIMEOUT_SECONDS = 30.0
MAX_HEAD_BYTES = 64 * 1024
#: Beyond this number the connection that has waited longest for its client is closed for a new one.
MAX_CONNECTIONS = 1_000
MIN_DESCRIPTORS = 4 * MAX_CONNECTIONS
REPEATED_MESSAGE_SECONDS = 60.0


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a time limit for requests, a limit of the request head and a bound on connections."""

    #: The connections of the server that wait for their client, the longest waiting first. Each server has its own.
    waiting: ClassVar[dict["LimitedProtocol", None]]
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_head_complete = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection; at the bound, close the one that has waited longest for its client."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            next(iter(self.waiting), self).transport.abort()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a part of a request. Refuse a head that is too large."""
        if self._timer is None:
            self._await_request()
        super().data_received(data)
        if not self._is_head_complete:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "head_too_large", f"The request head must not exceed {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Wait for the rest of a request, which may begin in the packet that ended the one before."""
        super().on_message_begin()
        if self._timer is None:
            self._await_request()

    def on_headers_complete(self) -> None:
        """Begin to process the request; its body may take longer than its head."""
        self._is_head_complete = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop waiting: the client has sent the whole request."""
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request: an idle connection is closed for a new one at the bound."""
        super().on_response_complete()
        if not self.pipeline and self._timer is None and not self.transport.is_closing():
            self.waiting[self] = None

    def shutdown(self) -> None:
        """End a stream that has no end of its own; another response gets the time to complete."""
        super().shutdown()
        if self.cycle and self.cycle.response_started and self.scope["state"].get(ENDS_AT_STOP):
            self.transport.close()

    def _await_request(self) -> None:
        self._head_bytes, self._is_head_complete = 0, False
        self.waiting.setdefault(self)
        self._timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._check_head)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_head(self) -> None:
        if self._is_head_complete:
            self._timer = self.loop.call_later(REQUEST_TIMEOUT_SECONDS - HEAD_TIMEOUT_SECONDS, self._time_out)
        else:
            self._time_out()

    def _time_out(self) -> None:
        self._refuse(408, "request_timeout", "The request was not completed in time.")

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP in the shape of every error."""
        self._refuse(400, "bad_request", msg)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Close the connection, with an error response if none has begun."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            response = ApiError(status, code, message).as_response()
            response.headers.update({"connection": "close", "x-request-id": uuid4().hex})
            head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
            self.transport.write(b"%s%s\r\n%s" % (STATUS_LINE[status], head, bytes(response.body)))
        self.transport.close()


class RepeatedMessages(logging.Filter):
    """Let a repeated message through once a minute, with the number of those that were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
        now, template = time.monotonic(), str(record.msg)[:200]
        logged_at, left_out = self._seen.get(template, (0.0, 0))
        if logged_at and now - logged_at < REPEATED_MESSAGE_SECONDS:
            self._seen[template] = logged_at, left_out + 1
            return False
        self._seen[template] = now, 0
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more in the last minute)", None
        return True


class _Server(uvicorn.Server):
    """A server that leaves signals to the program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def run_server(state: AppState, listening: socket.socket) -> AsyncIterator[None]:
    """Serve on a listening socket for the block. Requests in progress get five seconds to complete."""
    state = replace(state, listening_url=url_of(listening))
    _raise_descriptor_limit()
    app: ASGIApp = create_app(state)
    if origins := state.settings.cors_origins:
        app = CORSMiddleware(app, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    config = uvicorn.Config(
        app,
        http=type("ServerProtocol", (LimitedProtocol,), {"waiting": {}}),
        log_config=None,  # its messages are logged as all others, and requests by `RequestId`
        access_log=False,
        proxy_headers=bool(state.settings.trusted_proxies),
        forwarded_allow_ips=state.settings.trusted_proxies,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
    )
    for name in ("asyncio", "uvicorn.error"):
        logging.getLogger(name).addFilter(_repeated_messages)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


_repeated_messages = RepeatedMessages()


def _raise_descriptor_limit() -> None:
    """Raise the limit of open files, as far as the system permits, to what the connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MIN_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MIN_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
