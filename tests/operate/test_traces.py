"""One trace for each run, sent to a real OTLP receiver; and a sentence without the packages for it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.traces import send_traces
from tests.app import App

#: `serve` in an environment without the SDK.
WITHOUT_EXTRA = """
import sys
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
from cli.main import app
app(["serve", "--port", "0"])
"""


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Receive spans over HTTP; yields the address and the spans."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_run_is_one_trace(app: App) -> None:
    """Requests, workers, nodes and calls of providers join below one span of the run, which has its id."""
    with collector() as (url, spans):
        send_traces(url)
        run_id = app.start()
        app.complete(run_id)
        httpx.get(f"{app.url}/review/secret-token", params={"secret": "in-the-query"})
        provider: Any = trace.get_tracer_provider()
        provider.force_flush()
        provider.shutdown()

    of_run = [span for span in spans if span.trace_id == UUID(run_id).bytes]
    by_id, parents = {span.span_id: span for span in of_run}, {}
    for span in of_run:
        parents.setdefault(span.name, set()).add(by_id[span.parent_span_id].name if span.parent_span_id else None)
    assert parents["run"] == {None}
    assert [name for name, found in parents.items() if None in found] == ["run"]
    for name in ("start run", "POST /v1/runs/{run_id}/approve", "advance", "order"):
        assert parents[name] == {"run"}
    assert parents["ideator"] == parents["order_clip"] == parents["publish_gate"] == {"advance"}
    assert parents["ideas model"] == {"ideator"}
    [submit] = [name for name in parents if name.startswith("submit videos:")]
    assert parents[submit] == {"order_clip"}
    assert parents["poll embedded"] == {"order"}
    assert not [span for span in of_run if span.status.code == 2]
    text = str(spans)
    assert "secret-token" not in text
    assert "in-the-query" not in text


@pytest.mark.slow
def test_without_the_extra_a_sentence_says_what_is_missing(tmp_path: Any) -> None:
    """Before anything starts."""
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", WITHOUT_EXTRA]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    assert ended.returncode != 0
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: traces need further packages: pip install 'myloware[otel]'." in ended.stderr
    assert "Traceback" not in ended.stderr
