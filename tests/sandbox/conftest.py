"""Fixtures: a sandbox in its own process, an HTTP client of it and a receiver of its webhooks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sandbox_server import SandboxClient, SandboxServer, WebhookReceiver


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    server = SandboxServer(tmp_path_factory.mktemp("sandbox"))
    yield server
    server.stop()


@pytest.fixture
async def client(server: SandboxServer) -> AsyncIterator[SandboxClient]:
    async with SandboxClient(server.url) as client:
        await client.delete("/sandbox/faults")
        await client.post("/sandbox/pace", json={})
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    listener = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/hook"
    yield receiver
    listener.close()
    with contextlib.suppress(asyncio.CancelledError):
        await listener.wait_closed()


@pytest.fixture
async def endpoint(client: SandboxClient, receiver: WebhookReceiver) -> AsyncIterator[dict[str, Any]]:
    """The webhook endpoint of the receiver, registered with the sandbox."""
    endpoint = (await client.post("/v1/webhook_endpoints", json={"url": receiver.url})).json()
    yield endpoint
    await client.delete(f"/v1/webhook_endpoints/{endpoint['id']}")
