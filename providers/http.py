"""How we speak HTTP with another service: within bounds of time and size, and with its answers told apart."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from providers.base import NotSent, OutcomeUnknown, ProviderError, Refused, Unavailable

MAX_ANSWER_BYTES = 4 * 1024 * 1024
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0

_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class TooLarge(ProviderError):
    """A file has more bytes than we take."""

    def __init__(self, who: str, limit: int) -> None:
        super().__init__("file_too_large", f"{who} sent a file of more than {limit // 1024**2} MiB.")


def endpoint_label(url: str) -> str:
    """Where a service is, for its name: host, port and path, without a scheme or anything secret."""
    parts = urlsplit(url)
    return f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


@dataclass(frozen=True)
class ApiResponse:
    """What a service answered. `body` is complete."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> dict[str, Any]:
        """The JSON object in the body; empty where there is none."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return parsed if isinstance(parsed, dict) else {}


class ApiClient:
    """A line to one service at `base_url`, speaking as `authorization`. `who` names it in errors."""

    def __init__(self, client: httpx.AsyncClient, base_url: str, authorization: str, who: str) -> None:
        self._client = client
        self.base_url = base_url.rstrip("/")
        self._headers = {"authorization": authorization}
        self._secret = authorization.partition(" ")[2]
        self.who = who

    async def read(self, path: str, params: Mapping[str, str] | None = None) -> ApiResponse:
        """GET; Unavailable when there was no answer or it asks us to wait. Any other status is an answer."""
        return self._patient(await self._asked("GET", path, params=params))

    async def ask(self, path: str, **content: Any) -> ApiResponse:
        """POST a question that changes nothing; as `read`."""
        return self._patient(await self._asked("POST", path, **content))

    async def place(
        self,
        path: str,
        *,
        refused: str,
        seconds: float,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> ApiResponse:
        """POST an order, once, and give the 2xx answer. `seconds` bounds the whole call.

        Raises NotSent, Refused (with the service's code, else `refused`) or OutcomeUnknown.
        """
        try:
            answer = await self._call("POST", path, seconds=seconds, headers=headers, **content)
        except _NEVER_LEFT as error:
            raise NotSent("unreachable", f"{self.who} cannot be reached.") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise self.unknown("the connection broke before the answer") from error
        match answer.status:
            case status if 200 <= status < 300:
                return answer
            case 429:
                raise NotSent("rate_limited", self._wait(answer))
            case 301 | 307 | 308:
                raise Refused(refused, f"{self.who} has moved: correct its base URL.")
            case 401 | 403:
                # The service's own sentence is not repeated here: some quote the key in it.
                raise Refused(refused, f"{self.who} refused the API key (HTTP {answer.status}).")
            case status if 400 <= status < 500 and status not in (408, 409, 425):
                code, message = self.reason(answer.json(), refused)
                raise Refused(code, f"{self.who} refused the order: {message or f'HTTP {status}'}")
            case status:
                raise self.unknown(f"it answered with HTTP {status}")

    async def download(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        to: Path,
        limit: int,
        seconds: float,
        idle_seconds: float,
    ) -> ApiResponse:
        """Stream a file to `to`: at most `limit` bytes, within `seconds`, never silent for `idle_seconds`.

        On 200 the file is complete and the answer's body empty; any other status is given back with its body.
        Raises Unavailable for a cut or slow transfer and for a page in place of a file, TooLarge.
        """
        try:
            async with (
                asyncio.timeout(seconds),
                self._open("GET", path, idle_seconds, params=params) as response,
            ):
                if response.status_code != 200:
                    return self._patient(await _whole(response))
                kind = response.headers.get("content-type", "").lower()
                if kind.startswith("text/") or "json" in kind or "html" in kind:
                    raise Unavailable("not_a_file", f"{self.who} sent a page where a file was expected.")
                await self._keep(response, to, limit)
                return ApiResponse(200, response.headers, b"")
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable("download_cut", f"{self.who} did not send the whole file.") from error
        except OSError as error:
            raise Unavailable("disk_unwritable", "The folder for downloads cannot be written.") from error

    async def _keep(self, response: httpx.Response, to: Path, limit: int) -> None:
        try:
            with await asyncio.to_thread(to.open, "wb") as file:
                async for chunk in response.aiter_bytes():
                    if file.tell() + len(chunk) > limit:
                        raise TooLarge(self.who, limit)
                    file.write(chunk)
                received = file.tell()
            promised = response.headers.get("content-length")
            # Of an encoded file the length is that of other bytes; we ask for none, but some proxies know better.
            if promised not in (None, str(received)) and "content-encoding" not in response.headers:
                raise Unavailable("download_cut", f"{self.who} did not send the whole file.")
        except BaseException:
            to.unlink(missing_ok=True)
            raise

    def reason(self, holder: Mapping[str, Any], fallback: str) -> tuple[str, str]:
        """Code (snake_case) and sentence of the `error` in an answer; `fallback` and "" where it has none."""
        error = holder.get("error")
        told = error if isinstance(error, dict) else {"message": error or holder.get("message") or holder.get("detail")}
        code, message = told.get("code"), told.get("message")
        known = isinstance(code, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,63}", code)
        return str(code) if known else fallback, self.clean(message)

    def clean(self, message: object) -> str:
        """A service's sentence, fit to be shown: one line, not long, without our key."""
        if not isinstance(message, str):
            return ""
        content = "".join(letter if letter.isprintable() else " " for letter in message[:2000])
        return (content.replace(self._secret, "[key]") if self._secret else content).strip()[:300]

    def unknown(self, why: str) -> OutcomeUnknown:
        """The error for an order whose fate was not told."""
        return OutcomeUnknown("outcome_unknown", f"{self.who} may or may not have taken the order: {why}.")

    def odd(self, answer: ApiResponse) -> Unavailable:
        """The error for an answer that says nothing of what was asked."""
        if answer.status in (401, 403):
            return Unavailable("key_refused", f"{self.who} refused the API key (HTTP {answer.status}).")
        return Unavailable("odd_answer", f"{self.who} gave an answer that means nothing (HTTP {answer.status}).")

    def _patient(self, answer: ApiResponse) -> ApiResponse:
        if answer.status == 429:
            raise Unavailable("rate_limited", self._wait(answer))
        return answer

    def _wait(self, answer: ApiResponse) -> str:
        after = answer.headers.get("retry-after", "")
        return f"{self.who} asks us to wait{f' {after} seconds' if re.fullmatch('[0-9]{1,6}', after) else ''}."

    async def _asked(self, method: str, path: str, **content: Any) -> ApiResponse:
        try:
            return await self._call(method, path, seconds=READ_SECONDS, **content)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable("unreachable", f"{self.who} did not answer.") from error

    async def _call(self, method: str, path: str, *, seconds: float, **content: Any) -> ApiResponse:
        async with asyncio.timeout(seconds), self._open(method, path, seconds, **content) as response:
            return await _whole(response)

    def _open(
        self, method: str, path: str, idle: float, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> Any:
        return self._client.stream(
            method,
            self.base_url + path,
            headers={**self._headers, "accept-encoding": "identity", **(headers or {})},
            timeout=httpx.Timeout(idle, connect=min(idle, CONNECT_SECONDS)),
            follow_redirects=False,
            **content,
        )


async def _whole(response: httpx.Response) -> ApiResponse:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise httpx.RemoteProtocolError("The answer is too long.")
    return ApiResponse(response.status_code, response.headers, bytes(body))
