"""create, render-start, idle-run, runs, cost: whole runs, beside a bare LangGraph loop."""

import json
import math
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import mean, median

from bench.aims import Aim, aims_of
from bench.driver import Driver, Timeline
from bench.results import Result, ratio
from bench.stage import Observer, Program, Stage, run_program

FIGURES = ("create", "render-start", "idle-run", "runs", "cost")
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


@dataclass(frozen=True)
class Cost:
    """What runs took: the seconds of all, and of each its statements, those that control transactions, and its CPU."""

    seconds: float
    statements: float
    control: float
    cpu_seconds: float


@dataclass(frozen=True)
class Round:
    """Runs of the product, and then as many of the bare loop."""

    runs: int
    timelines: Sequence[Timeline]
    ours: Cost
    bare: Cost


async def measure(stage: Stage, figures: Collection[str]) -> list[Result]:
    """Return the lines of these figures."""
    results: list[Result] = []
    async with AsyncExitStack() as stack:
        dsn, bare_dsn = await stage.database(migrated=True), await stage.database(migrated=False)
        observer = await stack.enter_async_context(stage.observer(dsn))
        bare_observer = await stack.enter_async_context(stage.observer(bare_dsn))
        product = await stack.enter_async_context(stage.product(dsn, working=True))
        driver = await stack.enter_async_context(Driver(product, observer))
        await driver.run(2, at_once=2)  # warms up
        if {"create", "render-start", "idle-run"} & set(figures):
            idle = [await driver.run(stage.effort.idle_runs, at_once=1) for _ in range(stage.effort.rounds)]
            results += _latencies(idle, figures)
        if {"create", "runs", "cost"} & set(figures):
            bare = await stack.enter_async_context(run_program("bench.bare_loop", bare_dsn))
            sides = _Sides(driver, product, observer, bare, bare_observer)
            await sides.run_bare(2, 2)
            rounds = [await sides.round(stage.effort.runs, 16) for _ in range(stage.effort.rounds)]
            results += _create_at_16(rounds, figures)
            if "runs" in figures:
                many = [await sides.round(stage.effort.many, 64) for _ in range(stage.effort.rounds)]
                results += [_rates(aim, each) for aim, each in zip(aims_of("runs"), (rounds, many), strict=True)]
            if "cost" in figures:
                results += await _costs(rounds, observer, list(driver.timelines))
    return results


class _Sides:
    """The product and the bare loop, measured in turn."""

    def __init__(
        self, driver: Driver, product: Program, observer: Observer, bare: Program, bare_observer: Observer
    ) -> None:
        self._driver, self._product, self._observer = driver, product, observer
        self._bare, self._bare_observer = bare, bare_observer

    async def round(self, runs: int, at_once: int) -> Round:
        """Run so many runs of both, `at_once` at a time."""
        before, cpu = await self._observer.statements(), self._product.cpu_seconds
        timelines = await self._driver.run(runs, at_once=at_once)
        cpu, after = self._product.cpu_seconds - cpu, await self._observer.statements()
        seconds = max(each.ended for each in timelines) - min(each.started for each in timelines)
        ours = Cost(seconds, (after[0] - before[0]) / runs, (after[1] - before[1]) / runs, cpu / runs)
        return Round(runs, timelines, ours, await self.run_bare(runs, at_once))

    async def run_bare(self, runs: int, at_once: int) -> Cost:
        """Run so many threads of the bare loop."""
        before, cpu = await self._bare_observer.statements(), self._bare.cpu_seconds
        self._bare.command(json.dumps({"runs": runs, "at_once": at_once}))
        seconds = (await self._bare.output())["seconds"]
        cpu, after = self._bare.cpu_seconds - cpu, await self._bare_observer.statements()
        return Cost(seconds, (after[0] - before[0]) / runs, (after[1] - before[1]) / runs, cpu / runs)


def _latencies(rounds: Sequence[Sequence[Timeline]], figures: Collection[str]) -> list[Result]:
    create = [percentile(95, [s for run in runs for s in run.create_seconds]) for runs in rounds]
    render = [median(run.render_start_seconds for run in runs) for runs in rounds]
    own = [median(run.own_seconds for run in runs) for runs in rounds]
    lines = (aims_of("create")[0], create), (aims_of("render-start")[0], render), (aims_of("idle-run")[0], own)
    return [_milliseconds(aim, seconds) for aim, seconds in lines if aim.figure in figures]


def _create_at_16(rounds: Sequence[Round], figures: Collection[str]) -> list[Result]:
    seconds = [percentile(95, [s for run in each.timelines for s in run.create_seconds]) for each in rounds]
    return [_milliseconds(aims_of("create")[1], seconds)] if "create" in figures else []


def _milliseconds(aim: Aim, seconds: Sequence[float]) -> Result:
    note = f"{1000 * min(seconds):.0f} to {1000 * max(seconds):.0f} ms in {len(seconds)} rounds"
    value = 1000 * median(seconds)
    return Result(aim, value, f"{value:.0f} ms", note=note)


def _rates(aim: Aim, rounds: Sequence[Round]) -> Result:
    ours = [each.runs / each.ours.seconds for each in rounds]
    return ratio(aim, ours, [each.runs / each.bare.seconds for each in rounds], "runs/s")


async def _costs(rounds: Sequence[Round], observer: Observer, run_ids: Sequence[str]) -> list[Result]:
    statements, thread, cpu = aims_of("cost")
    ours, bare = [each.ours for each in rounds], [each.bare for each in rounds]
    counts = [median(each.statements for each in side) for side in (ours, bare)]
    control = [median(each.control for each in side) for side in (ours, bare)]
    note = f"by pg_stat_statements; {control[0]:.0f} and {control[1]:.0f} of them are BEGIN, COMMIT and the like"
    milliseconds = [[1000 * each.cpu_seconds for each in side] for side in (ours, bare)]
    size = mean([await thread_bytes(observer, run_id) for run_id in run_ids]) / 1000
    return [
        Result(statements, counts[0], f"{counts[0]:.0f}", f"{counts[1]:.0f}", note),
        Result(thread, size, f"{size:.1f} kB", note=f"mean of {len(run_ids)} runs"),
        ratio(cpu, milliseconds[0], milliseconds[1], "ms", inverse=True),
    ]


async def thread_bytes(observer: Observer, run_id: str) -> float:
    """Return the bytes that the rows of a thread take, compressed as they are stored."""
    size = "(select coalesce(sum(pg_column_size(t.*)), 0) from {} t where thread_id = %(id)s)"
    query = "select " + " + ".join(size.format(table) for table in TABLES) + " as bytes"
    cursor = await observer.connection.execute(query.encode(), {"id": run_id})
    row = await cursor.fetchone()
    return float(row["bytes"]) if row else math.nan


def percentile(share: float, values: Sequence[float]) -> float:
    """Return the value that this share, in percent, of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]
