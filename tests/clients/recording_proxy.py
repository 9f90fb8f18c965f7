"""A proxy between a chat client and the service, which records every completion that the client requests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

#: The headers of a request that are passed on and recorded.
HEADERS = ("authorization", "content-type", "x-openwebui-", "x-conversation-id")


@dataclass
class Exchange:
    """A request for a completion with the text of its answer, which is None until the answer has ended."""

    headers: dict[str, str]
    body: dict[str, Any]
    answer: str | None = None

    @property
    def last_message(self) -> str:
        """Return the text of the last message of the request."""
        return str(self.body["messages"][-1]["content"])

    @property
    def is_of_client(self) -> bool:
        """Return whether the client requests it for itself, by its own wording."""
        return self.last_message.startswith("### Task:")


class RecordingProxy:
    """A server on this machine that passes everything on to `target` as it comes."""

    def __init__(self, target: str) -> None:
        self.exchanges: list[Exchange] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self._pass_on(b"", None)

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                exchange = Exchange(self._named_headers(), json.loads(content))
                proxy.exchanges.append(exchange)
                self._pass_on(content, exchange)

            def _named_headers(self) -> dict[str, str]:
                return {name: value for name, value in self.headers.items() if name.lower().startswith(HEADERS)}

            def _pass_on(self, content: bytes, exchange: Exchange | None) -> None:
                url, headers = f"{target}{self.path}", self._named_headers()
                with httpx.stream(self.command, url, content=content, headers=headers, timeout=120) as answer:
                    self.send_response(answer.status_code)
                    self.send_header("Content-Type", answer.headers["content-type"])
                    self.end_headers()
                    received = bytearray()
                    for part in answer.iter_bytes():
                        received += part
                        self.wfile.write(part)
                        self.wfile.flush()
                if exchange:
                    exchange.answer = text_of(received.decode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def until_answered(self, condition: Callable[[Exchange], bool], count: int, *, seconds: float = 120) -> Exchange:
        """Wait until so many requests that meet the condition are answered, and return the last of them."""
        deadline = time.monotonic() + seconds
        while True:
            found = [each for each in self.exchanges if each.answer is not None and condition(each)]
            if len(found) >= count:
                return found[-1]
            assert time.monotonic() < deadline, f"{len(found)} of {count} answers"
            time.sleep(0.2)


def text_of(content: str) -> str:
    """Return the text of an answer, whole or as a stream."""
    if not content.startswith("data: "):
        choices = json.loads(content).get("choices", [])
        return str(choices[0]["message"]["content"]) if choices else content
    events = [line.removeprefix("data: ") for line in content.split("\n") if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c.get("choices"))
