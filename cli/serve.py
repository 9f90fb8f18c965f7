"""Serve the API, work on runs, run the sandbox."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from subprocess import call
from typing import Any

import uvicorn

from api.app import create_app
from api.settings import Settings, SettingsError
from api.wiring import AppState, open_app_state
from cli.local_services import sandboxed_services, with_local_services
from cli.output import err, out
from runs.worker import run_worker

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_services(settings: Settings, *, webhooks_to: str | None, with_worker: bool) -> AsyncIterator[AppState]:
    """The parts with whatever stands in for what is not set, and a worker if wanted."""
    async with (
        with_local_services(settings, webhooks_to=webhooks_to) as whole,
        open_app_state(whole) as parts,
        run_worker(parts.services, parts.queue) if with_worker else nullcontext(),
    ):
        yield parts


async def serve(settings: Settings, host: str, port: int, *, with_worker: bool) -> None:
    """Serve until a signal says to stop. Raises SettingsError, also for a port that is taken."""
    listening = _listen(host, port)
    url = url_of(listening)
    async with open_services(settings, webhooks_to=url, with_worker=with_worker) as parts, run_server(parts, listening):
        _announce(settings, parts, url)
        await _told_to_stop()


@asynccontextmanager
async def run_server(parts: AppState, listening: socket.socket) -> AsyncIterator[None]:
    """Serve these parts on a listening socket while the block runs; requests under way get five seconds to end."""

    @asynccontextmanager
    async def given() -> AsyncIterator[AppState]:
        yield parts

    server = _Server(uvicorn.Config(create_app(given), log_level="warning", timeout_graceful_shutdown=5))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def _told_to_stop() -> None:
    """Return when a signal says to stop, so that everything is put away before the program ends."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()


async def work(settings: Settings) -> None:
    """Work until a signal says to stop."""
    async with open_services(settings, webhooks_to=None, with_worker=True):
        out.print("The worker is at work. Stop it with Ctrl-C.")
        await _told_to_stop()


def sandbox(host: str, port: int, state: Path, webhook_url: str | None, webhook_secret: str | None) -> None:
    """Run the sandbox as the program of its own that it is."""
    command = [sys.executable, "-m", "sandbox", "--host", host, "--port", str(port), "--state", str(state)]
    if webhook_url:
        command += ["--webhook-url", webhook_url]
    if webhook_secret:
        command += ["--webhook-secret", webhook_secret]
    raise SystemExit(call(command))  # noqa: S603 - our own program


def openapi_description() -> dict[str, Any]:
    """The OpenAPI description of the API."""

    @asynccontextmanager
    async def nothing() -> AsyncIterator[AppState]:
        raise SettingsError("This app only describes itself.")
        yield

    return create_app(nothing).openapi()


class _Server(uvicorn.Server):
    """A server that leaves signals to the program around it."""

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
        raise SettingsError(f"Port {port} on {host} cannot be used: {error.strerror}.") from error
    listening.listen(2048)
    listening.setblocking(False)
    return listening


def listen_on_free_port() -> socket.socket:
    """A socket that listens on a free loopback port."""
    return _listen("127.0.0.1", 0)


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}"


def _announce(settings: Settings, parts: AppState, url: str) -> None:
    if parts.new_key:
        out.print(f"Your API key, shown only now: [bold]{parts.new_key}[/]", soft_wrap=True)
    if missing := sandboxed_services(settings):
        err.print(f"[yellow]SANDBOX[/]: it stands in for {', '.join(missing)}; nothing real is bought or posted.")
    out.print(f"MyloWare answers at {url} — try {url}/docs. Stop it with Ctrl-C.", soft_wrap=True)
