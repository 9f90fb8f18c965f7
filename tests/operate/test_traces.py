"""One trace for each run, sent to a real OTLP receiver; and a sentence without the packages for it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.traces import send_traces
from tests.app import ANNA, App
from tests.cli.terminals import MYLOWARE, environment, settings_of
from tests.operate.test_compose import until, until_status
from tests.storage.test_s3 import free_port

#: `serve` in an environment without the SDK.
WITHOUT_EXTRA = """
import sys
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
from cli.main import app
app(["serve", "--port", "0"])
"""


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Receive spans over HTTP; yields the address and the spans, each with the name of its service."""
    spans: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                [name] = [each.value.string_value for each in sent.resource.attributes if each.key == "service.name"]
                spans.extend((name, span) for scope in sent.scope_spans for span in scope.spans)
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

    of_run = [span for _, span in spans if span.trace_id == UUID(run_id).bytes]
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


@contextmanager
def process(command: list[str], log: Path, **settings: str) -> Iterator[None]:
    """Run a command for the block; it has to stop when it is told to, and sends its spans before."""
    with log.open("w") as output:
        running = subprocess.Popen(
            [str(MYLOWARE), *command], cwd=log.parent, env=environment(**settings), stdout=output, stderr=output
        )
    try:
        yield
        running.terminate()
        assert running.wait(30) in (0, 143), log.read_text()
    finally:
        running.kill()
        running.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_is_one_trace_across_processes(quiet_app: App, tmp_path: Path) -> None:
    """`serve --no-worker` and `worker`: what each did of the run is below one span, which has the id of the run."""
    port, logs = free_port(), {name: tmp_path / f"{name}.log" for name in ("api", "worker")}
    with ExitStack() as stack:
        url, spans = stack.enter_context(collector())
        shared = settings_of(quiet_app) | {"MYLOWARE_STORE_URL": f"file://{tmp_path}/store"}
        shared |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "MYLOWARE_RATE_LIMIT": "600"}
        for name, command in {"api": ["serve", "--no-worker", "--port", str(port)], "worker": ["worker"]}.items():
            own = {"MYLOWARE_DATA_DIR": str(tmp_path / name), "OTEL_SERVICE_NAME": name}
            stack.enter_context(process(command, logs[name], **(shared | own)))
        until(f"http://127.0.0.1:{port}/ready", logs["api"])
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": ANNA}, timeout=30)
        stack.enter_context(client)
        started = client.post("/v1/runs/start", json={"project": "tiny", "brief": "A lamp in fog"})
        run_id = started.json()["run_id"]
        for gate, status in (("ideation", "awaiting_publish_approval"), ("publish", "completed")):
            until_status(client, run_id, f"awaiting_{gate}_approval")
            body = {"gate": gate, "approved": True}
            assert client.post(f"/v1/runs/{run_id}/approve", json=body).status_code == 200
            until_status(client, run_id, status)

    of_run = [(service, span) for service, span in spans if span.trace_id == UUID(run_id).bytes]
    [(service, root)] = [(service, span) for service, span in of_run if not span.parent_span_id]
    assert (service, root.name) == ("worker", "run")
    assert {span.parent_span_id for _, span in of_run} - {b""} <= {span.span_id for _, span in of_run}
    services: dict[str, set[str]] = {}
    for service, span in of_run:
        services.setdefault(span.name, set()).add(service)
    assert services["start run"] == services["POST /v1/runs/{run_id}/approve"] == {"api"}
    names = [name for name in services if services[name] == {"worker"}]
    assert {"run", "advance", "ideator", "ideas model", "order_clip", "order", "publish_gate"} <= set(names)
    assert [name for name in names if name.startswith("submit videos:")]
    # Of the request that starts it the run is not known when its span begins: that is linked.
    [start] = [span for _, span in of_run if span.name == "start run"]
    [request] = [span for _, span in spans if span.span_id == start.links[0].span_id]
    assert (request.name, request.trace_id) == ("POST /v1/runs/start", start.links[0].trace_id)
    assert not [span.name for _, span in of_run if span.status.code == 2]


@pytest.mark.slow
def test_without_the_extra_a_sentence_says_what_is_missing(tmp_path: Any) -> None:
    """Before anything starts."""
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", WITHOUT_EXTRA]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    assert ended.returncode != 0
    assert (
        "OTEL_EXPORTER_OTLP_ENDPOINT: traces need further packages: .venv/bin/pip install -e '.[otel]'." in ended.stderr
    )
    assert "Traceback" not in ended.stderr
