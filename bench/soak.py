"""`python -m bench.soak --minutes 20`: a run per second, and whether anything grows or is lost.

Half of the runs have their clips announced by webhooks, of which 15 % are lost; the clips of the other half are only
polled. With Prometheus on the PATH, the queries of the alerts are plotted to `bench/soak.svg`.
Exits with status 1 if memory, connections, descriptors, the age of the queue or the statements per run grew
from the first third to the last one, or if a run did not complete.
"""

import argparse
import asyncio
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from statistics import median

import uvloop

from bench.alert_plots import MISSING, free_port, prometheus
from bench.driver import Driver
from bench.results import ROOT
from bench.stage import Effort, Observer, Program, open_stage

RUNS_PER_SECOND = 1.0
SAMPLE_SECONDS = 5.0
WEBHOOK_SHARE, LOST_SHARE = 50, 15  # percent of the runs, percent of their webhooks
#: The runs that have not completed this long after the last start are lost.
GRACE_SECONDS = 180.0
QUEUE_AGE = """
select greatest(
    coalesce((select extract(epoch from now() - min(next_wakeup_at)) from runs where next_wakeup_at < now()), 0),
    coalesce((select extract(epoch from now() - min(next_poll_at)) from orders where next_poll_at < now()), 0)
)::float as seconds
"""
CONNECTIONS = """
select count(*) as count from pg_stat_activity
where datname = current_database() and usename <> current_user
"""


@dataclass(frozen=True)
class Sample:
    """What is measured: MB, counts, seconds, and the mean of the time since the last sample."""

    memory: float
    connections: float
    descriptors: float
    queue_age: float
    statements: float


#: How much the median of the last third may exceed that of the first one: by a share, and by an amount.
MARGINS = Sample(0.05, 0.2, 0.1, 0.5, 0.1), Sample(5, 1, 5, 2, 10)


class Sampler:
    """Takes samples of a product process."""

    def __init__(self, product: Program, observer: Observer, driver: Driver) -> None:
        self._product, self._observer, self._driver = product, observer, driver
        self._statements = self._completed = 0
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Take samples until cancelled."""
        await self._take()  # counts from here on
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            if sample := await self._take():
                self.samples.append(sample)

    async def _take(self) -> Sample | None:
        """Return a sample, or None if no run has completed since the last one."""
        statements, _ = await self._observer.statements()
        completed = sum(each.status == "completed" for each in self._driver.timelines.values())
        if completed == self._completed:
            return None
        mean = (statements - self._statements) / (completed - self._completed)
        self._statements, self._completed = statements, completed
        [age], [connections] = await self._observer.rows(QUEUE_AGE), await self._observer.rows(CONNECTIONS)
        usage = self._product.usage
        return Sample(usage.memory_info().rss / 1e6, connections["count"], usage.num_fds(), age["seconds"], mean)


async def soak(minutes: float) -> bool:
    """Run the soak, print its table, and return whether nothing grew and nothing was lost."""
    async with open_stage(Effort()) as stage:
        dsn, metrics_port = await stage.database(migrated=True), free_port()
        async with (
            stage.observer(dsn) as observer,
            stage.observer(dsn) as sampling,
            stage.product(dsn, working=True, metrics_port=metrics_port) as product,
            prometheus(metrics_port, stage.folder / "prometheus") as monitor,
            Driver(product, observer, announces=is_announced) as driver,
        ):
            await driver.run(5, at_once=5)  # warms up
            sampler = Sampler(product, sampling, driver)
            task = asyncio.create_task(sampler.run())
            await _run_all(driver, minutes * 60)
            task.cancel()
            await (monitor.plot(ROOT / "bench" / "soak.svg") if monitor else asyncio.sleep(0))
            states = [each.status or "open" for each in driver.timelines.values()]
    print(f"{MISSING}\n" if monitor is None else "The queries of the alerts are plotted in bench/soak.svg.")
    lost = sum(state != "completed" for state in states)
    print(f"\n{len(states)} runs, {lost} of them not completed")
    return compare(sampler.samples) and not lost


async def _run_all(driver: Driver, seconds: float) -> None:
    """Start runs at their times, however long they take, and wait until they end, but not for ever."""

    async def run() -> None:
        await driver.finish(await driver.start_run())

    started, tasks = time.monotonic(), set[asyncio.Task[None]]()
    for number in range(round(seconds * RUNS_PER_SECOND)):
        await asyncio.sleep(max(0, started + number / RUNS_PER_SECOND - time.monotonic()))
        tasks.add(asyncio.create_task(run()))
    _, unfinished = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    for task in unfinished:
        task.cancel()


def is_announced(run_id: str, task: str) -> bool:
    """Return whether a webhook about this clip arrives: for half of the runs, except for the lost ones."""
    return _percent(run_id) < WEBHOOK_SHARE and _percent(task) >= LOST_SHARE


def _percent(text: str) -> int:
    return zlib.crc32(text.encode()) % 100


def compare(samples: Sequence[Sample]) -> bool:
    """Print the medians of the first and the last third, and return whether none of them grew."""
    if not samples:
        return False
    third, is_steady = max(1, len(samples) // 3), True
    columns = list(zip(*map(astuple, samples), strict=True))
    names = [field.name.replace("_", " ") for field in fields(Sample)]
    print(f"{'':12} {'first third':>12} {'last third':>12} {'highest':>12}")
    for name, values, share, amount in zip(names, columns, *map(astuple, MARGINS), strict=True):
        first, last = median(values[:third]), median(values[-third:])
        grew = last > first * (1 + share) + amount
        is_steady = is_steady and not grew
        print(f"{name:12} {first:12.1f} {last:12.1f} {max(values):12.1f} {'  grew' if grew else ''}")
    return is_steady


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="bench.soak", description="Run a run per second and look for growth.")
    parser.add_argument("--minutes", type=float, default=20)
    sys.exit(not uvloop.run(soak(parser.parse_args().minutes)))


if __name__ == "__main__":
    main()
