"""Slack and Telegram on loopback, which answer as the vendors document."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

SLACK_PATH, TOKEN, CHAT = "/services/T0/B0/very-secret", "123456:ABC-very-secret", "-100200"


@dataclass
class Messengers:
    """Both services. `faults` are the next answers: the status, the body and headers."""

    url: str = ""
    slack: list[dict[str, Any]] = field(default_factory=list)
    telegram: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    faults: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)

    def fail(self, status: int, body: Any, **headers: str) -> None:
        """Answer the next request with this."""
        self.faults.append((status, body, headers))

    def handle(self, path: str, content_type: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Record a request and return the answer to it."""
        is_slack = path == SLACK_PATH
        fields = json.loads(body) if is_slack else _form(content_type, body)
        (self.slack if is_slack else self.telegram).append(fields if is_slack else (path.rpartition("/")[2], fields))  # type: ignore[arg-type]
        if self.faults:
            return self.faults.pop(0)
        if is_slack:
            return (200, "ok", {}) if fields.get("blocks") else (400, "invalid_payload", {})
        if not path.startswith(f"/bot{TOKEN}/"):
            return 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}, {}
        results = {"getMe": {"id": 123456, "is_bot": True, "username": "film_bot"}, "getChat": {"id": int(CHAT)}}
        if path.endswith("getMe"):
            return 200, {"ok": True, "result": results["getMe"]}, {}
        if fields.get("chat_id") != CHAT:
            return 400, {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"}, {}
        if len(fields.get("caption", "").encode("utf-16-le")) > 2048:
            return 400, {"ok": False, "error_code": 400, "description": "Bad Request: message caption is too long"}, {}
        return 200, {"ok": True, "result": results.get(path.rpartition("/")[2], {"message_id": 1})}, {}


def _form(content_type: str, body: bytes) -> dict[str, Any]:
    if not content_type.startswith("multipart/"):
        return {name: values[0] for name, values in parse_qs(body.decode()).items()}
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}  # type: ignore[union-attr]
    content = {name: part.get_payload(decode=True) for name, part in parts.items()}
    return {str(name): value if name == "photo" else value.decode() for name, value in content.items()}


@contextmanager
def run_messengers() -> Iterator[Messengers]:
    """Run both services while the block runs."""
    messengers = Messengers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", "0")))
            status, body, headers = messengers.handle(self.path, self.headers.get("content-type", ""), content)
            text = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        messengers.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield messengers
        finally:
            server.shutdown()
            thread.join()
