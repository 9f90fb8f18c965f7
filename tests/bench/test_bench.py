"""The bench knows every figure, writes its results in a fixed format, and runs. No time is checked."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench import command_line, films, paused_runs, request_rates, soak, streams, whole_runs
from bench.aims import AIMS, FIGURES, Aim
from bench.http_client import Client, request_bytes, throughput
from bench.results import PATH, Result, ratio, write
from bench.soak import Sample

ROOT = Path(__file__).resolve().parents[2]
GROUPS = (request_rates, whole_runs, paused_runs, command_line, films, streams)
NAMES = [
    *("webhook", "get", "list", "start", "create", "render-start", "idle-run", "runs", "cost"),
    *("wake", "help", "render", "remotion", "paused", "streams"),
]


def test_every_figure_is_measured_by_one_group() -> None:
    """Each figure of the table has an aim, and one group of programs that measures it."""
    assert sorted(FIGURES) == sorted(NAMES)
    assert sorted(name for group in GROUPS for name in group.FIGURES) == sorted(NAMES)


@pytest.mark.parametrize(("bound", "beyond"), [("≥", 0.99), ("≤", 1.01)])
def test_an_aim_holds_at_its_limit_only_if_it_was_measured(bound: str, beyond: float) -> None:
    """The limit itself is good, a value beyond it is not, and neither is a value that could not be measured."""
    aim = Aim("get", "1 connection", bound, 1.0)  # type: ignore[arg-type]

    assert [aim.holds(value) for value in (1.0, beyond, None)] == [True, False, False]


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    """Rounds are compared one by one; of costs the smaller one is better."""
    aim = AIMS[0]

    assert ratio(aim, [1.0, 9.0, 4.0], [2.0, 10.0, 4.0], "req/s").value == 0.9
    assert ratio(aim, [100.0], [50.0], "ms", inverse=True).value == 0.5


def check_format(text: str) -> list[str]:
    """Return the lines of the results: each ends in one of two words, which occur nowhere else."""
    lines = [line for line in text.splitlines() if re.search(r"(met|missed)$", line)]
    assert len(re.findall("met|missed", text)) == len(lines)
    return lines


def test_every_line_ends_in_its_outcome(tmp_path: Path) -> None:
    """The file has a line for each aim, whether it was reached, not reached or not measured."""
    path = tmp_path / "RESULTS.md"
    values = [aim.limit if number % 3 else None for number, aim in enumerate(AIMS)]
    write([Result(aim, value) for aim, value in zip(AIMS, values, strict=True)], postgres="18.1", path=path)
    lines = check_format(path.read_text())

    assert [line.split(" | ")[0] for line in lines] == [f"| {aim.figure}" for aim in AIMS]
    assert [line.endswith("| met") for line in lines] == [value is not None for value in values]


def test_one_figure_replaces_only_its_lines(tmp_path: Path) -> None:
    """The lines of the other figures stay as they were."""
    path = tmp_path / "RESULTS.md"
    write([Result(aim, 0.5, "before") for aim in AIMS], postgres="18.1", path=path)
    before = check_format(path.read_text())
    write([Result(aim, 0.9, "after") for aim in AIMS if aim.figure == "get"], postgres="18.1", path=path)
    after = check_format(path.read_text())

    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [line.split(" | ")[:2] for line in changed] == [["| get", "1 connection"], ["| get", "16 connections"]]


@pytest.mark.slow
def test_a_figure_is_measured() -> None:
    """A run in the tiny mode ends with a line for the figure, and writes nothing."""
    stored = PATH.read_text() if PATH.exists() else None
    command = [sys.executable, "-m", "bench", "--tiny", "idle-run"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=110)

    assert re.fullmatch(r" +\d+ s \| idle-run \| .* \*\*[0-9.,]+\*\* ms .* \| (met|missed)\n", done.stdout)
    assert (PATH.read_text() if PATH.exists() else None) == stored


@asynccontextmanager
async def serve(status: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer every request with this status; yield the URL and the request lines."""
    lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines.append(head.partition(b"\r\n")[0])
            # In two packets, because an answer can arrive in parts.
            writer.write(b"HTTP/1.1 %d -\r\nContent-Length: 2\r\n\r\n{" % status)
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(b"}")

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(until_closed, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lines
        await asyncio.sleep(0.02)  # let the connections close


async def test_the_load_ends_with_its_requests() -> None:
    """Each request is sent once, over all connections."""
    async with serve(200) as (url, lines):
        rate = await throughput(url, [request_bytes("GET", f"/{n}") for n in range(20)], connections=4, seconds=60)

    assert rate > 0
    assert sorted(lines) == sorted(b"GET /%d HTTP/1.1" % number for number in range(20))


async def test_an_error_of_the_server_is_no_result() -> None:
    """A figure of refused requests would be wrong."""
    async with serve(503) as (url, _):
        with pytest.raises(RuntimeError, match="503"):
            await throughput(url, [request_bytes("GET", "/")], connections=1, seconds=60)
        client = Client(url, {})
        with pytest.raises(RuntimeError, match="503"):
            await client.post("/", {})
        client.close()


STEADY = Sample(memory=200, connections=6, descriptors=40, queue_age=0.1, statements=300)


def test_a_steady_soak_passes() -> None:
    """Samples that stay as they are show no growth; without samples nothing is shown."""
    assert soak.compare([STEADY] * 9)
    assert not soak.compare([])


@pytest.mark.parametrize("name", ["memory", "connections", "descriptors", "queue_age", "statements"])
def test_growth_fails_the_soak(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything that doubles is named."""
    grown = Sample(**{**vars(STEADY), name: 2 * getattr(STEADY, name) + 10})

    assert not soak.compare([STEADY] * 6 + [grown] * 3)
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.endswith("grew")]
    assert line.startswith(name.replace("_", " "))


def test_half_of_the_runs_have_webhooks_and_some_are_lost() -> None:
    """Of the webhooks of half of the runs 15 % are lost."""
    runs = [f"run-{number}" for number in range(400)]
    announced = [[soak.is_announced(run, f"{run}-{task}") for task in range(10)] for run in runs]
    with_webhooks = [tasks for tasks in announced if any(tasks)]

    assert 0.4 < len(with_webhooks) / len(runs) < 0.6
    assert 0.75 < sum(map(sum, with_webhooks)) / (10 * len(with_webhooks)) < 0.95
