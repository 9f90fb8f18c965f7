"""Pruning with a bucket of a real S3 server: files of pruned runs leave it; the next call does what failed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from providers.base import Unavailable
from runs import pruning
from runs.pruning import Pruned
from tests.app import App, SandboxClient, open_app
from tests.keeping.test_pruning import ended_run
from tests.storage.test_s3 import BUCKET, environ, moto_server, s3

__all__ = ["moto_server", "s3"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Gateway:
    """An address in front of the S3 server, which refuses deletions while `is_closed` is true."""

    def __init__(self, upstream: str) -> None:
        self.upstream, self.is_closed, self.refused = upstream, False, 0

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve for the block, and yield the address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()

    def keys(self) -> set[str]:
        """Return the names of the files in the bucket."""
        listing = httpx.get(f"{self.upstream}/{BUCKET}?list-type=2&prefix=pruning").text
        return {part.partition("</Key>")[0].rpartition("/")[2] for part in listing.split("<Key>")[1:]}

    def _handler(gateway) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if gateway.is_closed and (self.command == "DELETE" or "?delete" in self.path):
                    gateway.refused += 1
                    self.answer(503, {}, b"")
                    return
                address = f"{gateway.upstream}{self.path}"
                with httpx.Client() as client:
                    answer = client.request(self.command, address, headers=dict(self.headers), content=body)
                self.answer(answer.status_code, answer.headers, answer.content)

            def answer(self, status: int, headers: Any, body: bytes) -> None:
                self.send_response_only(status)
                hidden = ("content-length", "transfer-encoding", "connection")
                for name, value in headers.items():
                    if name not in hidden:
                        self.send_header(name, value)
                size = headers.get("content-length", "0") if self.command == "HEAD" else str(len(body))
                self.send_header("content-length", size)
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        return Handler


def _prune(app: App) -> Pruned:
    return app.in_loop(pruning.prune(app.state.services, timedelta(days=30), "local"))


def test_files_of_pruned_runs_leave_the_bucket(
    s3: dict[str, str], postgres_server: str, migrated_template: str, sandbox_process: SandboxClient
) -> None:
    """A shared file stays for its other run; after a deletion that failed the next prune deletes what is left."""
    gateway, store = Gateway(s3["AWS_ENDPOINT_URL"]), {"store_url": f"s3://{BUCKET}/pruning"}
    with (
        gateway.running() as url,
        environ({**s3, "AWS_ENDPOINT_URL": url}),
        open_app(postgres_server, migrated_template, sandbox_process, with_worker=False, **store) as app,
    ):
        services = app.state.services
        _, shared = app.in_loop(ended_run(services, "shared"))
        kept, _ = app.in_loop(ended_run(services, "shared"))
        app.rows("update runs set updated_at = now() where id = %s returning 1", kept)
        _, own = app.in_loop(ended_run(services, "own"))
        _, other = app.in_loop(ended_run(services, "other"))
        assert gateway.keys() == {shared, own, other}
        cached = app.in_loop(services.artifacts.local_path(own))

        gateway.is_closed = True
        with pytest.raises(Unavailable, match="MYLOWARE_STORE_URL: the store of clips and films cannot be used"):
            _prune(app)
        assert gateway.refused > 0
        assert gateway.keys() == {shared, own, other}
        assert {row["digest"] for row in app.rows("select digest from released_files")} == {own, other}
        assert app.client.get(f"/v1/artifacts/{own}").status_code == 404
        assert len(app.rows("select 1 from runs where pruned_at is not null")) == 3

        gateway.is_closed = False
        assert _prune(app).runs == 0
        assert (gateway.keys(), cached.exists()) == ({shared}, False)
        assert app.rows("select * from released_files") == []
        assert app.client.get(f"/v1/artifacts/{shared}").content == b"film of shared"

        assert app.in_loop(pruning.delete_run(services, kept, "local")).files == 1
        assert gateway.keys() == set()
