"""Fixtures for the Remotion renderer: clips, a stub server, and the real render service."""

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
from render_service import BROWSERS, SERVICE, ArtifactFolder, RenderService, Responder, StubServer


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> ArtifactFolder:
    return ArtifactFolder(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def two_clips(artifacts: ArtifactFolder) -> list[str]:
    """Return the digests of a darker clip and a lighter one of two seconds each, the second without sound."""
    return [artifacts.add_clip(luma=90, seconds=2.0), artifacts.add_clip(luma=120, seconds=2.0, has_sound=False)]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client that opens real connections."""
    async with httpx.AsyncClient() as opened:
        yield opened


@pytest.fixture
async def start_stub_server() -> AsyncIterator[Callable[[Responder], Awaitable[StubServer]]]:
    """Yield a function that starts a stub server with the given responder."""
    servers: list[asyncio.Server] = []

    async def start(respond: Responder) -> StubServer:
        async def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = head.split(" ")
                status, content = respond(method, path, headers, body)
                stub.requests.append((method, path, headers, body))
                writer.write(
                    b"HTTP/1.1 %d -\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (status, len(content))
                )
                writer.write(content)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle_connection, "127.0.0.1", 0)
        servers.append(server)
        stub = StubServer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        return stub

    yield start
    for server in servers:
        server.close()
    await asyncio.sleep(0.02)  # let the last connections close


@pytest.fixture(scope="session")
def built_service() -> Path:
    """Build the service and return its folder; skip the test, with the reason, if a requirement is missing."""
    requirements = [
        ("Node (node and npm)", shutil.which("node") and shutil.which("npm")),
        (
            "a browser (apt-get install chromium-headless-shell)",
            os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS)),
        ),
        ("the packages (npm ci in remotion/)", (SERVICE / "node_modules" / "@remotion" / "renderer").is_dir()),
    ]
    if missing := [name for name, is_present in requirements if not is_present]:
        pytest.skip(f"The real render service cannot run here; missing: {', '.join(missing)}.")
    site = SERVICE / "build" / "site" / "index.html"
    sources = [path for name in ("src", "film", "public") for path in (SERVICE / name).rglob("*")]
    if not site.exists() or site.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        subprocess.run(["npm", "run", "build"], cwd=SERVICE, check=True, capture_output=True, timeout=300)
    return SERVICE


@pytest.fixture
def start_service(built_service: Path, artifacts: ArtifactFolder, tmp_path: Path) -> Any:
    """Yield `await start_service(NAME="value")`, which runs the real service with these settings."""
    started: list[RenderService] = []

    async def start(**settings: str) -> RenderService:
        folder = tmp_path / "service"
        folder.mkdir(exist_ok=True)
        env = {
            "PORT": "0",
            "STATE_DIR": str(folder),
            "ARTIFACTS": str(artifacts.folder),
            "CONCURRENCY": "1",
            **settings,
        }
        started.append(await RenderService(folder, env).start())
        return started[-1]

    yield start
    for each in started:
        if each.process is not None and each.process.poll() is None:
            each.stop(signal.SIGTERM)
