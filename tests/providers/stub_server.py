"""Responses of a stub server, and a client that sends its requests to it."""

from collections.abc import Callable
from typing import Any

import httpx

Respond = Callable[[httpx.Request], httpx.Response]


async def ignore_progress(share: float) -> None:
    """Discard the reported progress."""


def respond_with(status: int, body: Any = None, **options: Any) -> Respond:
    """Return a server that sends this response; bytes are sent as they are, anything else as JSON."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    return lambda request: httpx.Response(status, **content, **options)


def fail_with(error: type[httpx.TransportError]) -> Respond:
    """Return a server that cannot be used because of a transport error."""

    def respond(request: httpx.Request) -> httpx.Response:
        raise error("no")

    return respond


def stub_client(respond: Respond, **options: Any) -> tuple[httpx.AsyncClient, list[httpx.Request]]:
    """Return a client of the server, and the list of the requests that it receives."""
    requests: list[httpx.Request] = []

    async def record(request: httpx.Request) -> httpx.Response:
        await request.aread()
        requests.append(request)
        return respond(request)

    return httpx.AsyncClient(transport=httpx.MockTransport(record), **options), requests
