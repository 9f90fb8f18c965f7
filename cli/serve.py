"""Run the API server, the worker and the sandbox."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import uvicorn

from api.app import create_app
from api.settings import Settings
from api.settings_types import SettingsError
from api.wiring import AppState, open_app_state
from cli.local_services import sandbox_notice, with_local_services
from cli.output import stderr, stdout
from runs.worker import run_worker

GRACEFUL_SHUTDOWN_SECONDS = 5


@asynccontextmanager
async def open_services(settings: Settings, *, webhooks_to: str | None, with_worker: bool) -> AsyncIterator[AppState]:
    """Open the app state with local services for everything that is not configured, and optionally a worker."""
    async with (
        with_local_services(settings, webhooks_to=webhooks_to) as complete,
        open_app_state(complete) as state,
        run_worker(state.services, state.queue) if with_worker else nullcontext(),
    ):
        yield state


async def serve(settings: Settings, host: str, port: int, *, with_worker: bool) -> None:
    """Serve until SIGINT or SIGTERM. Raises SettingsError, also for a port that is in use."""
    listening = _listen(host, port)
    url = url_of(listening)
    async with open_services(settings, webhooks_to=url, with_worker=with_worker) as state, run_server(state, listening):
        if state.new_key:
            stdout.print(f"Your API key, shown only once: [bold]{state.new_key}[/]", soft_wrap=True)
        if notice := sandbox_notice(settings):
            stderr.print(notice)
        stdout.print(f"MyloWare is running at {url}, API docs at {url}/docs. Stop it with Ctrl-C.", soft_wrap=True)
        await _wait_for_signal()


@asynccontextmanager
async def run_server(state: AppState, listening: socket.socket) -> AsyncIterator[None]:
    """Serve on a listening socket for the block. Requests in progress get five seconds to complete."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[AppState]:
        yield state

    config = uvicorn.Config(
        create_app(opened), log_level="warning", timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def work(settings: Settings) -> None:
    """Run a worker until SIGINT or SIGTERM."""
    async with open_services(settings, webhooks_to=None, with_worker=True):
        stdout.print("The worker is running. Stop it with Ctrl-C.")
        await _wait_for_signal()


def openapi_description() -> dict[str, Any]:
    """Return the OpenAPI description of the API."""

    @asynccontextmanager
    async def refused() -> AsyncIterator[AppState]:
        raise SettingsError("This app only describes itself.")
        yield

    return create_app(refused).openapi()


def listen_on_free_port() -> socket.socket:
    """Return a socket that listens on a free loopback port."""
    return _listen("127.0.0.1", 0)


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket; a wildcard address becomes loopback."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """A server that leaves signals to the program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(f"Cannot listen on port {port} of {host}: {error.strerror}.") from error
    listening.listen(2048)
    listening.setblocking(False)
    return listening


async def _wait_for_signal() -> None:
    """Wait for SIGINT or SIGTERM, so that everything is closed before the program ends."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
