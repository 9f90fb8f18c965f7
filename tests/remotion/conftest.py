"""What the tests of the Remotion renderer are given: clips, a service that is only played, and the real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from remotion_rooms import BROWSERS, SERVICE, Kept, Outside, Rule, Service


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="session")
def two_clips(kept: Kept) -> list[str]:
    """A darker clip and a lighter one of two seconds each, the second without a sound."""
    return [kept.clip(luma=90, seconds=2.0), kept.clip(luma=120, seconds=2.0, sound=False)]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client that really opens connections."""
    async with httpx.AsyncClient() as opened:
        yield opened


@pytest.fixture
async def outside() -> AsyncIterator[Callable[[Rule], Awaitable[Outside]]]:
    """Start such a server with a rule from method, path, headers and body to status and body."""
    servers: list[asyncio.Server] = []

    async def start(rule: Rule) -> Outside:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = head.split(" ")
                status, answer = rule(method, path, headers, body)
                there.asked.append((method, path, headers, body))
                writer.write(
                    b"HTTP/1.1 %d -\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (status, len(answer))
                )
                writer.write(answer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        servers.append(server)
        there = Outside(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        return there

    yield start
    for server in servers:
        server.close()
    await asyncio.sleep(0.02)  # lets the last conversations come to their end


@pytest.fixture(scope="session")
def built() -> Path:
    """The service, built; without what it needs the test is skipped, and says what is missing."""
    wanting = [
        ("Node (node and npm)", shutil.which("node") and shutil.which("npm")),
        (
            "a browser (apt-get install chromium-headless-shell)",
            os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS)),
        ),
        ("the packages (npm ci in remotion/)", (SERVICE / "node_modules" / "@remotion" / "renderer").is_dir()),
    ]
    if missing := [what for what, there in wanting if not there]:
        pytest.skip(f"The real Remotion service is not tested here; missing: {', '.join(missing)}.")
    made = SERVICE / "build" / "site" / "index.html"
    sources = [path for name in ("src", "film", "public") for path in (SERVICE / name).rglob("*")]
    if not made.exists() or made.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        subprocess.run(["npm", "run", "build"], cwd=SERVICE, check=True, capture_output=True, timeout=300)
    return SERVICE


@pytest.fixture
def service(built: Path, kept: Kept, tmp_path: Path) -> Any:
    """`await service(NAME="value")`: the real service started with these settings; ended with the test."""
    started: list[Service] = []

    async def start(**settings: str) -> Service:
        folder = tmp_path / "service"
        folder.mkdir(exist_ok=True)
        env = {"PORT": "0", "STATE_DIR": str(folder), "ARTIFACTS": str(kept.folder), "CONCURRENCY": "1", **settings}
        started.append(await Service(folder, env).start())
        return started[-1]

    yield start
    for each in started:
        if each.process is not None and each.process.poll() is None:
            each.kill(signal.SIGTERM)
