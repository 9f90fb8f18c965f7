"""HTTP client of providers: bounded time and size, one error type per outcome."""

import asyncio
import json
import re
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from providers.base import NotSent, OutcomeUnknown, Refused, Unavailable, Unusable, disk_unwritable
from providers.values import one_line, read_error

CONNECT_TIMEOUT_SECONDS = 10.0
QUERY_TIMEOUT_SECONDS = 30.0


def endpoint_label(url: str) -> str:
    """Return host, port and path of a URL, without scheme, credentials and query, for the name of a provider."""
    parts = urlsplit(url)
    return f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


@dataclass(frozen=True)
class Limits:
    """Limits of a call, in seconds: for an order, for a file, and without data; the bytes of a file and a response."""

    submit_seconds: float = 30.0
    download_seconds: float = 300.0
    idle_seconds: float = 30.0
    file_bytes: int = 64 * 1024 * 1024
    response_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True)
class ApiResponse:
    """A complete HTTP response."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the JSON object in the body, or an empty dict if the body is not a JSON object."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return parsed if isinstance(parsed, dict) else {}


@dataclass
class ApiClient:
    """A client of the service at `base_url`. Error messages refer to the service as `service_name` with its host."""

    client: httpx.AsyncClient
    base_url: str
    #: The value of the header: a scheme and the API key.
    authorization: str = field(repr=False)
    service_name: str
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        self.service_name += f" ({endpoint_label(self.base_url).partition('/')[0]})"

    async def query(self, method: str, path: str, *, expected: Collection[int] = (), **content: Any) -> ApiResponse:
        """Send a request that changes nothing and return the response; without `expected`, whatever its status.

        Read the body before the status: some services return a result with an error status. `unexpected_response`
        gives the error for a status that is not expected. Raises Unavailable for it, and when there is no response.
        """
        try:
            response = await self._send(method, path, QUERY_TIMEOUT_SECONDS, **content)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable("unreachable", f"{self.service_name} did not respond.") from error
        if expected and response.status not in expected:
            raise self.unexpected_response(response)
        return response

    async def submit(self, path: str, **content: Any) -> ApiResponse:
        """Send a POST request that places an order, once, and return the response. Only the ledger repeats it.

        `submit_error` gives the error that the status of the response means. Raises NotSent, or OutcomeUnknown when
        there is no response.
        """
        try:
            return await self._send("POST", path, self.limits.submit_seconds, **content)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise NotSent("unreachable", f"{self.service_name} cannot be reached.") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise self.outcome_unknown("the connection was lost before the response") from error

    async def download(self, path: str, to: Path, params: Mapping[str, str] | None = None) -> ApiResponse:
        """Stream a file to the path `to`.

        With status 200 the file is complete and the body of the response empty; a response with any other status is
        returned with its body.

        Raises Unusable `file_too_large`, and Unavailable for an incomplete or slow transfer and for a page instead
        of a file.
        """
        with transfer_errors(self.service_name):
            async with (
                asyncio.timeout(self.limits.download_seconds),
                self._stream("GET", path, self.limits.idle_seconds, params=params) as response,
            ):
                return await receive_file(response, to, self.service_name, self.limits)

    def error_details(self, body: Mapping[str, Any], default_code: str) -> tuple[str, str]:
        """Return code (snake_case) and message of the error in a JSON object, or `default_code` and no message."""
        code, message = read_error(body)
        return code or default_code, self.sanitize(message)

    def sanitize(self, message: object) -> str:
        """Return a message of the service as one line of at most 300 characters, without the API key."""
        key = self.authorization.partition(" ")[2]
        return one_line(message.replace(key, "[key]") if key else message) if isinstance(message, str) else ""

    def outcome_unknown(self, reason: str) -> OutcomeUnknown:
        """Return the error for an order that may have been placed."""
        return OutcomeUnknown("outcome_unknown", f"{self.service_name} may have received the order: {reason}.")

    def unexpected_response(self, response: ApiResponse) -> Unavailable:
        """Return the error for a response that does not follow the contract."""
        return Unavailable(*self._fault(response))

    def submit_error(self, response: ApiResponse, refusal_code: str) -> NotSent | Refused | OutcomeUnknown | None:
        """Return the error that a response to an order means, by default as `refusal_code`; None for a 2xx status."""
        status = response.status
        if 200 <= status < 300:
            return None
        if status in (401, 429):
            return NotSent(*self._fault(response))
        if status in (301, 307, 308):
            return Refused(refusal_code, f"{self.service_name} has moved. Correct its base URL.")
        if status in (408, 409, 425) or not 400 <= status < 500:
            return self.outcome_unknown(f"it responded with HTTP {status}")
        code, message = self.error_details(response.json(), refusal_code)
        if status == 403 and not message:
            return Refused(code, self._fault(response)[1])
        return Refused(code, f"{self.service_name} refused the order: {message or f'HTTP {status}'}")

    def _fault(self, response: ApiResponse) -> tuple[str, str]:
        """Return code and message for the status of a response that is not the expected one."""
        if response.status == 429:
            seconds = response.headers.get("retry-after", "")
            retry = f" Retry after {seconds} seconds." if re.fullmatch("[0-9]{1,6}", seconds) else ""
            return "rate_limited", f"{self.service_name}: rate limit exceeded.{retry}"
        if response.status in (401, 403):
            # The service's own message is not repeated: some services quote the key in it.
            return "api_key_rejected", f"{self.service_name} rejected the API key (HTTP {response.status})."
        return "unexpected_response", f"{self.service_name} sent an unexpected response (HTTP {response.status})."

    async def _send(self, method: str, path: str, limit_seconds: float, **content: Any) -> ApiResponse:
        async with asyncio.timeout(limit_seconds), self._stream(method, path, limit_seconds, **content) as response:
            return await _read_response(response, self.limits)

    def _stream(
        self, method: str, path: str, idle_seconds: float, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> AbstractAsyncContextManager[httpx.Response]:
        headers = {"authorization": self.authorization, "accept-encoding": "identity", **(headers or {})}
        url, timeout = self.base_url + path, timeout_of(idle_seconds)
        return self.client.stream(method, url, headers=headers, timeout=timeout, follow_redirects=False, **content)


def timeout_of(idle_seconds: float) -> httpx.Timeout:
    """Return the timeouts of a request that may have no data for so long."""
    return httpx.Timeout(idle_seconds, connect=min(idle_seconds, CONNECT_TIMEOUT_SECONDS))


@contextmanager
def transfer_errors(service_name: str) -> Iterator[None]:
    """Raise Unavailable for a transfer in the block that fails, and for a file that cannot be written."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError, socket.gaierror) as error:
        raise Unavailable("download_incomplete", f"{service_name} did not send the whole file.") from error
    except OSError as error:
        raise disk_unwritable("MYLOWARE_DATA_DIR", error) from error


async def receive_file(response: httpx.Response, to: Path, service_name: str, limits: Limits) -> ApiResponse:
    """Write the body of a 200 response to the path `to`; read any other. Raises as `ApiClient.download` does."""
    if response.status_code != 200:
        return await _read_response(response, limits)
    media_type = response.headers.get("content-type", "").lower()
    if media_type.startswith("text/") or "json" in media_type or "html" in media_type:
        raise Unavailable("not_a_file", f"{service_name} sent a page instead of a file.")
    await _write_file(response, to, service_name, limits)
    return ApiResponse(200, response.headers, b"")


async def _write_file(response: httpx.Response, to: Path, service_name: str, limits: Limits) -> None:
    """Write the body to `to`, completely or not at all."""
    try:
        with await asyncio.to_thread(to.open, "wb") as file:
            async for chunk in response.aiter_bytes():
                if file.tell() + len(chunk) > limits.file_bytes:
                    limit = f"{limits.file_bytes // 1024**2} MiB"
                    raise Unusable("file_too_large", f"{service_name} sent a file of more than {limit}.")
                file.write(chunk)
            received = file.tell()
        announced = response.headers.get("content-length")
        # The length of an encoded file counts the encoded bytes. The request forbids encodings, but some
        # proxies apply one anyway.
        if announced not in (None, str(received)) and "content-encoding" not in response.headers:
            raise httpx.RemoteProtocolError("The file has another length than announced.")
    except BaseException:
        to.unlink(missing_ok=True)
        raise


async def _read_response(response: httpx.Response, limits: Limits) -> ApiResponse:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limits.response_bytes:
            raise httpx.RemoteProtocolError("The response is too long.")
    return ApiResponse(response.status_code, response.headers, bytes(body))
