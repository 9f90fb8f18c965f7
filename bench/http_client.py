"""A client of raw HTTP/1.1 over kept connections, and the load generator on it."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

MAX_IDLE_SECONDS = 2.0

OnResponse = Callable[["Connection", int, bytes], None]


class Connection(asyncio.Protocol):
    """One kept connection: `send` bytes of a request, then `on_response` is called with status and body."""

    def __init__(self, on_response: OnResponse) -> None:
        self.on_response = on_response
        self.transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Send a request."""
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Report a response once it is complete."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if len(body) >= length:
            self._buffer = b""
            self.on_response(self, int(head[9:12]), body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the loss as status 0."""
        self.on_response(self, 0, b"connection lost")

    def close(self) -> None:
        """Close the connection without a report."""
        self.on_response = lambda *_: None
        if self.transport is not None:
            self.transport.close()


async def connect(url: str, on_response: OnResponse) -> Connection:
    """Return a connection to the server of this URL."""
    address, loop = urlsplit(url), asyncio.get_running_loop()
    host, port = str(address.hostname), int(address.port or 80)
    _, protocol = await loop.create_connection(lambda: Connection(on_response), host, port)
    return protocol


def request_bytes(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return an HTTP/1.1 request."""
    lines = {"host": "127.0.0.1", **(headers or {})}
    if body:
        lines |= {"content-type": "application/json", "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def throughput(url: str, requests: Iterable[bytes], *, connections: int, seconds: float) -> float:
    """Return the requests per second that the server answers on so many connections, each with one request at a time.

    Ends after `seconds`, or with the requests. Raises RuntimeError for an answer that is not 2xx.
    """
    pending: Iterator[bytes] = iter(requests)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    answered, active, last = 0, connections, 0.0

    def send_next(connection: Connection) -> None:
        nonlocal active
        request = next(pending, None) if time.perf_counter() < deadline else None
        if request is not None:
            connection.send(request)
            return
        active -= 1
        if not active and not done.done():
            done.set_result(None)

    def on_response(connection: Connection, status: int, body: bytes) -> None:
        nonlocal answered, last
        if not 200 <= status < 300:
            if not done.done():
                done.set_exception(RuntimeError(f"The server answered {status}: {body[:500].decode()}"))
            return
        answered, last = answered + 1, time.perf_counter()
        send_next(connection)

    opened = [await connect(url, on_response) for _ in range(connections)]
    started = time.perf_counter()
    deadline = started + seconds
    try:
        for connection in opened:
            send_next(connection)
        await done
    finally:
        for connection in opened:
            connection.close()
    return answered / (last - started)


class Client:
    """Sends single requests over kept connections, as many as are needed."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url, self._headers = url, headers
        self._free: list[tuple[Connection, float]] = []

    async def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        """Return the JSON of the answer. Raises RuntimeError if it is not 2xx."""
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

        def on_response(_: Connection, status: int, body: bytes) -> None:
            if not answer.done():
                answer.set_result((status, body))

        connection = self._take() or await connect(self._url, on_response)
        connection.on_response = on_response
        connection.send(request_bytes(method, path, body, {**self._headers, **(headers or {})}))
        status, content = await answer
        if status:
            self._free.append((connection, time.monotonic()))
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path} answered {status}: {content[:500].decode()}")
        return json.loads(content)

    def _take(self) -> Connection | None:
        """Return a connection that was used just now: the server closes those that are idle for seconds."""
        while self._free:
            connection, used_at = self._free.pop()
            if time.monotonic() - used_at < MAX_IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def post(self, path: str, value: object) -> Any:
        """Return the JSON of the answer to a POST of this value."""
        return await self.request("POST", path, json.dumps(value).encode())

    def close(self) -> None:
        """Close the connections."""
        while self._free:
            self._free.pop()[0].close()
