"""What the tests of the outside world are given: a client, a server that misbehaves to order, and kept files."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from providers.base import ArtifactMissing

Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client that really opens connections."""
    async with httpx.AsyncClient() as opened:
        yield opened


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server that answers with raw bytes and hangs up, or, after the last, hangs or trickles."""
    servers: list[asyncio.Server] = []
    hanging = asyncio.Event()

    async def start(*replies: bytes, hang: bool = False, trickle: float | None = None) -> str:
        left = list(replies)

        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            reply = left.pop(0) if left else b""
            writer.write(reply)
            while not left and trickle is not None and not hanging.is_set() and not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(trickle)
            if hang and not left:
                await hanging.wait()
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"

    yield start
    hanging.set()
    for server in servers:
        server.close()
    # Lets the conversations that were hanging come to their end.
    await asyncio.sleep(0.02)


class Shelf:
    """Kept files, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / digest).write_bytes(content)
        return digest

    async def local_path(self, digest: str) -> Path:
        if not (self.folder / digest).exists():
            raise ArtifactMissing(digest)
        return self.folder / digest


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Kept files."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    return Shelf(folder)
