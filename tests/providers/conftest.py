"""Fixtures: an HTTP client, a server that sends raw bytes, a store of files, and a sandbox in its own process."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sandbox_server import SandboxClient, SandboxServer, WebhookReceiver

from providers.base import ArtifactMissing

Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that opens real connections."""
    async with httpx.AsyncClient() as opened:
        yield opened


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return a function that starts a server and returns its base URL.

    The server sends one reply per connection and closes it. After the last reply it can hang, or send bytes slowly.
    """
    servers: list[asyncio.Server] = []
    stopped = asyncio.Event()

    async def start(*replies: bytes, hang: bool = False, trickle: float | None = None) -> str:
        remaining = list(replies)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            reply = remaining.pop(0) if remaining else b""
            writer.write(reply)
            while not remaining and trickle is not None and not stopped.is_set() and not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(trickle)
            if hang and not remaining:
                await stopped.wait()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"

    yield start
    stopped.set()
    for server in servers:
        server.close()
    # Lets the open connections end.
    await asyncio.sleep(0.02)


class FileStore:
    """Stored files in a folder, by digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / digest).write_bytes(content)
        return digest

    async def local_path(self, digest: str) -> Path:
        if not (self.folder / digest).exists():
            raise ArtifactMissing(digest)
        return self.folder / digest


@pytest.fixture
def file_store(tmp_path: Path) -> FileStore:
    """Return an empty store."""
    folder = tmp_path / "files"
    folder.mkdir()
    return FileStore(folder)


@pytest.fixture(scope="session")
def sandbox_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """Run a sandbox for all tests of vendors."""
    server = SandboxServer(tmp_path_factory.mktemp("sandbox"))
    yield server
    server.stop()


@pytest.fixture
async def sandbox(sandbox_server: SandboxServer) -> AsyncIterator[SandboxClient]:
    """Return a client of the sandbox, without faults of other tests."""
    async with SandboxClient(sandbox_server.url) as opened:
        await opened.delete("/sandbox/faults")
        await opened.post("/sandbox/pace", json={})
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """Return a receiver of webhooks."""
    started = WebhookReceiver()
    listener = await asyncio.start_server(started.handle, "127.0.0.1", 0)
    started.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/hook"
    yield started
    listener.close()
