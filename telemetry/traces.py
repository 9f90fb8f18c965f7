"""Traces: one for each run, across the requests, the workers, the nodes and the providers that it meets.

The id of the trace is that of the run, so that processes need not pass it on. Without the extra `otel` nothing is sent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, StatusCode, TraceFlags

from telemetry.logs import current_ids

#: The ids of the span to create next, if it is that of a whole run.
_root: ContextVar[SpanContext | None] = ContextVar("root", default=None)
_tracer = trace.get_tracer("myloware")


def _root_of(run_id: str) -> SpanContext:
    """Return the ids of the span of a whole run, which is sent when it ends."""
    trace_id = UUID(run_id).int
    return SpanContext(
        trace_id, trace_id & (2**64 - 1) or 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )


@contextmanager
def span(name: str) -> Iterator[Span]:
    """Record the block as a span, with the ids of what it is about, in the trace of its run if it is about one."""
    ids, current, context, links = current_ids(), trace.get_current_span().get_span_context(), None, list[Link]()
    if (run_id := ids.get("run")) and current.trace_id != (root := _root_of(run_id)).trace_id:
        context = trace.set_span_in_context(NonRecordingSpan(root))
        links = [Link(current)] if current.is_valid else []
    attributes = {f"myloware.{key}": value for key, value in ids.items()}
    # The texts of exceptions are for the log, which redacts them.
    with _tracer.start_as_current_span(
        name, context, attributes=attributes, links=links, record_exception=False, set_status_on_exception=False
    ) as started:
        try:
            yield started
        except Exception as error:
            if (kind := type(error).__name__) != "GraphInterrupt":  # a node that waits
                started.set_status(StatusCode.ERROR, kind)
            raise


def record_run(run_id: str, started_at: datetime, outcome: str) -> None:
    """Record the span of a whole run, which is the parent of all others of its trace."""
    token = _root.set(_root_of(run_id))
    try:
        start = int(started_at.timestamp() * 1e9)
        attributes = {"myloware.run": run_id, "myloware.outcome": outcome}
        _tracer.start_span("run", Context(), start_time=start, attributes=attributes).end()
    finally:
        _root.reset(token)


def send_traces(endpoint: str) -> None:
    """Send spans to an OpenTelemetry collector (OTLP over HTTP) from now on. Raises ImportError without the extra."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class RunIds(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            root = _root.get()
            return root.trace_id if root else super().generate_trace_id()

        def generate_span_id(self) -> int:
            root = _root.get()
            return root.span_id if root else super().generate_span_id()

    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override it.
    resource = Resource.create({"service.name": "myloware"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, id_generator=RunIds())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    trace.set_tracer_provider(provider)
