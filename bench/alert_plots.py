"""Plots of the queries of `docs/operate/alerts.yaml` over a soak, by a real Prometheus that scrapes the product."""

import asyncio
import os
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

import httpx
import yaml

from bench.results import ROOT

RULES = ROOT / "docs" / "operate" / "alerts.yaml"
SCRAPE_SECONDS = 5
WIDTH, HEIGHT, COLUMNS = 420, 150, 3
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf")
MISSING = "No plots of the alerts: prometheus is not on the PATH. On Debian: apt-get install prometheus."


@dataclass(frozen=True)
class Rule:
    """An alert: its query without the comparison, and the comparison with a number, if there is one."""

    name: str
    query: str
    comparison: str
    threshold: float | None


@dataclass(frozen=True)
class Series:
    """Values of a query by time (seconds since 1970), and its labels."""

    labels: str
    points: Sequence[tuple[float, float]]


def read_rules() -> list[Rule]:
    """Return the rules of the file. Of a query with `and` or `or` the first part is plotted."""
    rules = []
    for rule in (rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]):
        first = re.split(r" (?:and|or) ", rule["expr"])[0]
        found = re.fullmatch(r"(.*) (==|<|>) ([\d.]+)", first)
        query, comparison, threshold = (found[1], found[2], float(found[3])) if found else (first, "", None)
        rules.append(Rule(rule["alert"], query, comparison, threshold))
    return rules


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Prometheus:
    """A running Prometheus, which evaluates the rules."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=60)
        self.started_at = time.time()

    async def range(self, query: str) -> list[Series]:
        """Return the series of a query from the start until now."""
        step = max(SCRAPE_SECONDS, (time.time() - self.started_at) / 500)
        times = {"start": str(self.started_at), "end": str(time.time()), "step": str(step)}
        answer = await self._client.get("/api/v1/query_range", params={"query": query, **times})
        return [
            Series(
                ", ".join(f"{name}={value}" for name, value in each["metric"].items() if name != "instance"),
                [(float(at), float(value)) for at, value in each["values"] if value != "NaN"],
            )
            for each in answer.raise_for_status().json()["data"]["result"]
        ]

    async def plot(self, to: Path) -> None:
        """Write a panel for each alert, with the times at which it fired, as one SVG."""
        panels = []
        for rule in read_rules():
            fired = await self.range(f'ALERTS{{alertname="{rule.name}",alertstate="firing"}}')
            panels.append(_panel(rule, await self.range(rule.query), fired, self.started_at, time.time()))
        rows = -(-len(panels) // COLUMNS)
        size = f'width="{WIDTH * COLUMNS}" height="{HEIGHT * rows}"'
        placed = (
            f'<g transform="translate({WIDTH * (number % COLUMNS)},{HEIGHT * (number // COLUMNS)})">{panel}</g>'
            for number, panel in enumerate(panels)
        )
        style = "text{font:11px sans-serif}.q{fill:#666;font-size:8px}.l{fill:none;stroke-width:1.2}"
        body = f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(placed)}'
        to.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{body}</svg>\n')


def _panel(rule: Rule, series: Sequence[Series], fired: Sequence[Series], start: float, end: float) -> str:
    values = [value for each in series for _, value in each.points] + [rule.threshold or 0.0]
    top, left, right, low = (max(values) or 1) * 1.1, 45, WIDTH - 15, HEIGHT - 22

    def x(at: float) -> float:
        return left + (at - start) / max(end - start, 1) * (right - left)

    def y(value: float) -> float:
        return low - value / top * (low - 36)

    condition = "" if rule.threshold is None else f"{rule.comparison} {rule.threshold:g}"
    parts = [
        f'<text x="8" y="14">{rule.name}</text>',
        f'<text class="q" x="8" y="26">{escape(f"{rule.query[:75]} {condition}")}</text>',
        f'<path d="M{left},36V{low}H{right}" stroke="#999" fill="none"/>',
        f'<text class="q" x="4" y="42">{top / 1.1:.3g}</text><text class="q" x="4" y="{low}">0</text>',
        f'<text class="q" x="{right - 60}" y="{HEIGHT - 8}">{(end - start) / 60:.1f} minutes</text>',
    ]
    for each in fired:
        for at, _ in each.points:
            parts.append(f'<rect x="{x(at):.1f}" y="36" width="3" height="{low - 36}" fill="#d62728" opacity="0.2"/>')
    if rule.threshold is not None:
        at = y(rule.threshold)
        parts.append(f'<path d="M{left},{at:.1f}H{right}" stroke="#d62728" stroke-dasharray="4 3"/>')
    for colour, each in zip(COLOURS * (1 + len(series) // len(COLOURS)), series, strict=False):
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in each.points)
        parts.append(
            f'<polyline class="l" stroke="{colour}" points="{points}"><title>{escape(each.labels)}</title></polyline>'
        )
    if not series:
        parts.append(f'<text class="q" x="{WIDTH // 2 - 30}" y="{HEIGHT // 2}">no value</text>')
    return "".join(parts)


@asynccontextmanager
async def prometheus(target: int, folder: Path) -> AsyncIterator[Prometheus | None]:
    """Run Prometheus for the block, which scrapes the port `target`; None if it is not installed."""
    program = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
    if program is None:
        yield None
        return
    folder.mkdir(parents=True)
    scrape = {"job_name": "myloware", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    seconds = f"{SCRAPE_SECONDS}s"
    intervals = {"scrape_interval": seconds, "evaluation_interval": seconds}
    config = {"global": intervals, "rule_files": [str(RULES)], "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data", "log.level": "error"}
    options["web.listen-address"] = f"127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(program, *(f"--{name}={value}" for name, value in options.items()))
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        await process.wait()
