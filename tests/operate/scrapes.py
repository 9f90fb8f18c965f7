"""Scrape the metrics of an app."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpx

from api.monitoring import serve_metrics
from tests.app import App


@dataclass(frozen=True)
class Scrape:
    """The text of one scrape."""

    text: str

    @property
    def names(self) -> set[str]:
        """Return the names of all metrics, also of those without a value."""
        return {*re.findall(r"^# HELP (\w+)", self.text, re.M), *re.findall(r"^(\w+)[{ ]", self.text, re.M)}

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the values of a metric with these labels."""
        found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", self.text, re.M)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for text, value in found if all(each in text for each in wanted))


@contextmanager
def scraped(app: App) -> Iterator[httpx.Client]:
    """Serve the metrics of an app for the block, and yield a client of them."""
    settings = app.settings.model_copy(update={"metrics_port": 0})
    listener = serve_metrics(replace(app.state, settings=settings))
    port = app.in_loop(listener.__aenter__())
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        app.in_loop(listener.__aexit__(None, None, None))


def scrape(client: httpx.Client) -> Scrape:
    """Return a scrape."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)
