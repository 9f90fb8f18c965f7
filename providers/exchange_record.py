"""Record an exchange with a service as a file, without keys, addresses and the orders of others."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from providers.base import Json, disk_unwritable

HEADERS = ("content-type", "idempotency-key", "location", "retry-after", "x-litellm-num-retries")
#: What is kept of a listed order that is not ours.
LISTED = ("id", "created_at", "status")
#: A shorter key is none, and would be found in other words.
MIN_KEY_LENGTH = 8
_PRIVATE_FIELD = re.compile(
    r"((account|user|owner|org|organization|team|workspace|project|customer|tenant)(_?(id|name))?|e_?mail"
    r"|.*(token|secret|password|api_?key))",
    re.IGNORECASE,
)
_PRIVATE_TEXTS = {
    r"whsec_[A-Za-z0-9+/=_-]+": f"whsec_{'A' * 32}",  # which can still be parsed
    r"(https?://[^\s\"\\?]+)\?[^\s\"\\]*": r"\1",  # the query of a file's URL is a signature
    r"[\w.+-]+@[\w-]+(\.[\w-]+)+": "[e-mail]",
}


class ExchangeRecorder:
    """Keeps the requests and responses of its clients, in order; `write` leaves out what is private."""

    def __init__(self) -> None:
        self.exchanges: list[dict[str, Any]] = []

    def attach(self, client: httpx.AsyncClient) -> httpx.AsyncClient:
        """Record what this client sends from now on, and return it."""
        client.event_hooks = {"request": [self._record_request], "response": [self._record_response]}
        return client

    async def _record_request(self, request: httpx.Request) -> None:
        target = {"origin": f"{request.url.scheme}://{request.headers['host']}", "path": request.url.path}
        if "authorization" in request.headers:
            target["query"] = request.url.query.decode()
        content = {"headers": _selected(request.headers), "body": _describe(await request.aread())}
        self.exchanges.append({"method": request.method, **target, **content})
        request.extensions["exchange"] = self.exchanges[-1]

    async def _record_response(self, response: httpx.Response) -> None:
        described = {"headers": _selected(response.headers), "body": _describe(await response.aread())}
        response.request.extensions["exchange"]["response"] = {"status": response.status_code, **described}

    def write(self, path: Path, record: Json, keys: Sequence[str], prompt: str) -> None:
        """Write a record with the exchange that only its owner can read. `prompt` is that of the order that is ours.

        Raises Unavailable for a file that cannot be written.
        """
        text = json.dumps(_without_private({**record, "exchanges": self.exchanges}, prompt), indent=1)
        parts = {part for key in keys for part in (key, *key.split(":")) if len(part) >= MIN_KEY_LENGTH}
        for part in sorted(parts, key=len, reverse=True):
            text = text.replace(part, "[key]").replace(quote(part, safe=""), "[key]")
        for pattern, replacement in _PRIVATE_TEXTS.items():
            text = re.sub(pattern, replacement, text)
        try:
            path.touch(mode=0o600)
            path.chmod(0o600)
            path.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise disk_unwritable(str(path), error) from error


def _selected(headers: httpx.Headers) -> dict[str, str]:
    return {name: headers[name] for name in HEADERS if name in headers}


def _describe(content: bytes) -> Json:
    """Return a body as JSON or text; of any other only length and digest."""
    try:
        text = content.decode()
        return {"json": json.loads(text)} if text[:1] in ("{", "[") else {"text": text}
    except (ValueError, RecursionError):
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _without_private(value: Any, prompt: str) -> Any:
    """Return a value without private fields; of other listed orders only that they exist."""
    if isinstance(value, list):
        return [_without_private(each, prompt) for each in value]
    if not isinstance(value, dict):
        return value
    if "id" in value and value.keys() & {"prompt", "input"} and prompt not in str(value):
        return {name: value.get(name) for name in LISTED}
    return {name: _hidden(name, each) or _without_private(each, prompt) for name, each in value.items()}


def _hidden(name: str, value: Any) -> str | None:
    return "[private]" if value and _PRIVATE_FIELD.fullmatch(name) else None
