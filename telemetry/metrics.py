"""Metrics: what a process counts, and the gauges that it reads. `docs/operate/watching.md` lists all."""

import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.registry import Collector

from telemetry.traces import span

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
HTTP_SECONDS = Histogram(
    "myloware_http_seconds",
    "Time to the first byte of a response.",
    ["method", "route", "status"],
    buckets=SECONDS[:11],
)
PROVIDER_SECONDS = Histogram(
    "myloware_provider_seconds", "Time of calls of providers.", ["provider", "call"], buckets=SECONDS[3:]
)
PROVIDER_ERRORS = Counter("myloware_provider_errors", "Failed calls of providers.", ["provider", "error"])
RENDER_SECONDS = Histogram(
    "myloware_render_seconds", "Time from the order of a film to the film.", ["renderer"], buckets=SECONDS[7:]
)
ORDERS = Counter("myloware_orders", "Changes of orders.", ["kind", "provider", "outcome"])
RUNS_ENDED = Counter("myloware_runs_ended", "Runs that ended.", ["outcome"])
WEBHOOKS = Counter("myloware_webhooks", "Webhooks received.", ["source", "result"])

# Alerts take the increase of these, which does not count the first value of a series: they start at 0.
RUNS_ENDED.labels("failed")
for _error in ("Refused", "FormatRefused"):
    PROVIDER_ERRORS.labels("model", _error)
for _source in ("sora", "video", "remotion"):
    WEBHOOKS.labels(_source, "refused")

#: The descriptions of the gauges, by name.
GAUGES: Mapping[str, str] = tomllib.loads(Path(__file__).with_name("gauges.toml").read_text())


@dataclass(frozen=True)
class Sample:
    """A value of a gauge."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Gauges(Collector):
    """The gauges, as they were read last."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def collect(self) -> Iterable[Metric]:
        """Yield every gauge, with or without values."""
        samples = self.samples
        for name, text in GAUGES.items():
            metric = Metric(name, text, "gauge")
            for sample in samples:
                if sample.name == name:
                    metric.add_sample(name, dict(sample.labels), sample.value)
            yield metric


@contextmanager
def observed(provider: str, call: str) -> Iterator[None]:
    """Measure and trace the block, which calls a provider."""
    started_at = time.perf_counter()
    try:
        with span(f"{call} {provider}"):
            yield
    except Exception as error:
        PROVIDER_ERRORS.labels(provider, type(error).__name__).inc()
        raise
    finally:
        PROVIDER_SECONDS.labels(provider, call).observe(time.perf_counter() - started_at)
