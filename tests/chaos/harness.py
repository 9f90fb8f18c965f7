"""Crash harness: starts processes, injects faults, lets actors use the API, and checks the invariants at the end."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.actors import Actors
from tests.chaos.background import BackgroundTasks
from tests.chaos.environment import API_KEYS, Environment, open_environment
from tests.chaos.faults import FaultInjector, ProcessKiller, inject_webhook_faults
from tests.chaos.invariants import find_violations, read_facts
from tests.chaos.options import Options, Role
from tests.chaos.processes import ProcessPool, open_pool
from tests.chaos.report import Report

#: After the last injected fault all runs have to end within so many seconds.
DRAIN_SECONDS = 300.0
PROGRESS_INTERVAL_SECONDS = 10.0
SLOTS: tuple[tuple[str, Role], ...] = (("api", "api"), ("worker-1", "worker"), ("worker-2", "worker"))


async def run_harness(options: Options, log: Callable[[str], None] = print) -> Report:
    """Kill processes and start runs as the options demand, let all runs end, and return the report.

    The data folder is deleted, except after a violation or an error.
    """
    folder = Path(tempfile.mkdtemp(prefix="myloware-chaos-", dir=_memory_folder()))
    try:
        report = await _run(options, folder, log)
    except BaseException:
        log(f"Data folder: {folder}")
        raise
    if report.violations:
        log(f"Data folder: {folder}")
    else:
        await asyncio.to_thread(shutil.rmtree, folder, True)
    return report


@asynccontextmanager
async def open_harness(folder: Path, seed: int) -> AsyncIterator[tuple[Environment, ProcessPool, Actors]]:
    """Start database, sandbox and fork server, without a process of the product; stop everything after the block."""
    async with open_environment(folder) as environment, open_pool(environment, BackgroundTasks()) as pool:
        await inject_webhook_faults(environment, seed)
        yield environment, pool, Actors(environment.api, environment.sandbox, API_KEYS, random.Random(seed))


async def _run(options: Options, folder: Path, log: Callable[[str], None]) -> Report:
    started_at = time.monotonic()
    rng = random.Random(options.seed + 1)
    async with open_harness(folder, options.seed) as (environment, pool, actors):
        killer, injector = ProcessKiller(pool, options, rng), FaultInjector(environment, options, rng, pool)

        def needs_runs() -> bool:
            return not environment.is_draining and not _is_complete(options, pool, actors)

        for slot, role in SLOTS:
            pool.tasks.start(killer.keep_running(slot, role))
        pool.tasks.start(actors.run(needs_runs, options.concurrent_runs))
        pool.tasks.start(injector.run())
        await _wait_for_runs(options, environment, pool, actors, log)
        facts = await read_facts(environment.postgres.dsn, environment.sandbox, actors)
        stops = pool.executed_stops()
    return Report(
        kills=pool.kills,
        freezes=pool.freezes,
        restarts=killer.restarts,
        unplanned_exits=killer.unplanned_exits,
        outages=injector.outages,
        retries=actors.retries,
        seconds=time.monotonic() - started_at,
        facts=facts,
        violations=[*find_violations(facts), *_missed_targets(options, pool, actors)],
        unexpected_responses=actors.unexpected_responses[:20],
        kills_by_failpoint=Counter(stop["failpoint"] for stop in stops if stop["signal"] == "SIGKILL"),
    )


async def _wait_for_runs(
    options: Options, environment: Environment, pool: ProcessPool, actors: Actors, log: Callable[[str], None]
) -> None:
    """Drain when the targets or the time limit are reached; return when every run has ended, or the drain timed out."""
    started_at = time.monotonic()
    drain_ends_at, next_progress_at = float("inf"), 0.0
    while not environment.is_draining or (actors.open_runs and time.monotonic() < drain_ends_at):
        await asyncio.sleep(0.5)
        pool.tasks.raise_failures()
        now = time.monotonic()
        is_over_time = now - started_at > options.max_minutes * 60
        if not environment.is_draining and (is_over_time or _is_complete(options, pool, actors)):
            environment.drain_file.touch()
            drain_ends_at = now + DRAIN_SECONDS
        if now >= next_progress_at:
            next_progress_at = now + PROGRESS_INTERVAL_SECONDS
            open_by_status = dict(Counter(run["status"] for run in actors.open_runs.values()))
            log(
                f"{now - started_at:5.0f} s  {pool.kills} kills, {pool.freezes} freezes, "
                f"{len(actors.started)} runs started, {len(actors.ended_runs)} ended, open: {open_by_status}"
            )


def _is_complete(options: Options, pool: ProcessPool, actors: Actors) -> bool:
    return pool.kills >= options.kills and len(actors.started) >= options.runs


def _missed_targets(options: Options, pool: ProcessPool, actors: Actors) -> list[str]:
    """Describe the targets that were not reached: a harness that killed too little has not tested anything."""
    counts = ((pool.kills, options.kills, "kills"), (len(actors.started), options.runs, "runs"))
    return [f"only {count} of {target} {name}" for count, target, name in counts if count < target]


def _memory_folder() -> Path | None:
    """Return a folder in memory with 2 GiB of free space, or None."""
    memory = Path("/dev/shm")
    is_usable = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**31
    return memory if is_usable else None
