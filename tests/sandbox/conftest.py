"""A sandbox in a process of its own, as everybody else meets it, and a receiver for its webhooks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sandbox_server import Client, Receiver, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("sandbox"))
    yield running
    running.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.url) as client:
        await client.delete("/sandbox/faults")
        await client.post("/sandbox/pace", json={})
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    listening = await asyncio.start_server(receiver.take, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/hook"
    yield receiver
    listening.close()
    with contextlib.suppress(asyncio.CancelledError):
        await listening.wait_closed()


@pytest.fixture
async def endpoint(client: Client, receiver: Receiver) -> AsyncIterator[dict[str, Any]]:
    """The receiver registered with the sandbox."""
    endpoint = (await client.post("/v1/webhook_endpoints", json={"url": receiver.url})).json()
    yield endpoint
    await client.delete(f"/v1/webhook_endpoints/{endpoint['id']}")
