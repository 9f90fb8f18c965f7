"""Injected faults: processes killed at failpoints, database outages, provider faults and webhook faults."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import psutil

from storage.embedded_postgres import EmbeddedPostgres
from tests.chaos.environment import Environment
from tests.chaos.options import Options, Role, Stop
from tests.chaos.processes import Process, ProcessPool, kill_tree

#: If a process does not hit its failpoint for so many seconds, it stops at the next failpoint of any name.
FALLBACK_SECONDS = 12.0
#: A worker that gets SIGTERM has to exit within so many seconds.
SHUTDOWN_SECONDS = 40.0
#: After the last demanded kill processes live, and the database runs, so many times longer: on a busy machine a render
#: takes longer than both, and no run would get to its end.
LONGER_AFTER_TARGET = 6
FAULT_INTERVAL_SECONDS = 3.0
#: Provider faults of the sandbox, each for one call.
PROVIDER_FAULTS: tuple[dict[str, Any], ...] = (
    {"fault": "create_accept_then_500"},
    {"fault": "create_accept_then_hang", "seconds": 4.0},
    {"fault": "create_500"},
    {"fault": "create_not_ready"},
    {"fault": "create_repeated"},
    {"fault": "create_429"},
    {"fault": "create_accept_then_drop"},
    {"fault": "vendor_error", "accept": 1},
    {"fault": "vendor_error", "status": 504},
    {"fault": "index_lag", "seconds": 4.0},
    {"fault": "webhook_form", "form": "unsigned"},
    {"fault": "fail"},
    {"fault": "failed_with_429"},
    {"fault": "failed_oddly", "form": "http_500"},
    {"fault": "status_500", "times": 2},
    {"fault": "video_401", "times": 2},
    {"fault": "list_without_prompts", "times": 2},
    {"fault": "content_500"},
    {"fault": "content_late", "status": 404},
    {"fault": "content_late", "status": 400, "times": 2},
    {"fault": "content_late", "status": 422, "times": 2},
    {"fault": "content_truncated"},
    {"fault": "content_html"},
    {"fault": "webhook_failed_after_completed"},
    {"fault": "webhook_before_response"},
    {"fault": "upload_accept_then_timeout", "seconds": 4.0},
    {"fault": "upload_500"},
    {"fault": "upload_429"},
    {"fault": "upload_401"},
    {"fault": "upload_status_500", "times": 2},
    {"fault": "upload_status_failed"},
    {"fault": "upload_status_failed", "results": "processing"},
    {"fault": "upload_label_ignored"},
    {"fault": "upload_history_renamed"},
    {"fault": "moderation_500"},
    {"fault": "llm_500_html"},
)
#: Share of lost and of duplicated webhooks, and the longest delay in seconds.
WEBHOOK_FAULTS = {"fault": "webhook_random_faults", "drop": 0.15, "duplicate": 0.3, "delay_max": 3.0}
FAILPOINTS: dict[Role, tuple[str, ...]] = {
    "worker": tuple(
        f"{operation}.{moment}"
        for operation in ("submit", "lookup", "poll", "answer", "commit", "checkpoint", "writes")
        for moment in ("before", "after")
    ),
    "api": ("commit.before", "commit.after"),
}


class ProcessKiller:
    """Keeps processes running, each until it is killed at a failpoint, at a random time, or by a rolling restart."""

    def __init__(self, pool: ProcessPool, options: Options, rng: random.Random) -> None:
        self.pool, self.options, self.rng = pool, options, rng
        self.restarts = self.unplanned_exits = 0
        self._failpoints = {role: _shuffle_forever(names, rng) for role, names in FAILPOINTS.items()}
        self._started = 0

    async def keep_running(self, slot: str, role: Role) -> None:
        """Keep one process of this role running until cancelled; start the next one when it exits."""
        while True:
            choice = self.rng.random()
            mean_seconds = self.options.mean_lifetime_seconds * _factor(self.pool, self.options)
            lifetime = 1.0 + self.rng.expovariate(1 / mean_seconds)
            was_draining = self.pool.environment.is_draining
            stops = [] if was_draining or choice >= 0.8 else self._plan_stops(role, lifetime)
            self._started += 1
            process = await self.pool.start(f"{slot}.{self._started}", role, stops)
            if not stops and not was_draining:
                await _wait_for_exit(process, lifetime)
                if not process.exited.is_set() and not self.pool.environment.is_draining:
                    if choice >= 0.9 and role == "worker":
                        self.restarts += 1
                        self.pool.tasks.start(self._shut_down(process))
                        continue  # the next process starts while this one shuts down
                    self.pool.send_signal(process, signal.SIGKILL)
            await process.exited.wait()
            if process.exit_code != -signal.SIGKILL:
                self.unplanned_exits += 1  # for example because the database is unavailable at the start
                await asyncio.sleep(1)

    async def _shut_down(self, process: Process) -> None:
        self.pool.send_signal(process, signal.SIGTERM)
        await _wait_for_exit(process, SHUTDOWN_SECONDS)
        if not process.exited.is_set():
            self.pool.send_signal(process, signal.SIGKILL)
            await process.exited.wait()
            raise AssertionError(f"{process.name} did not exit within {SHUTDOWN_SECONDS:.0f} s of SIGTERM")

    def _plan_stops(self, role: Role, lifetime: float) -> list[Stop]:
        names = self._failpoints[role]
        stops = [Stop(next(names), "SIGKILL", lifetime, FALLBACK_SECONDS)]
        if role == "worker" and self.rng.random() < 0.2:
            stops.insert(0, Stop(next(names), "SIGSTOP", lifetime / 2, FALLBACK_SECONDS))
        return stops


class FaultInjector:
    """Injects faults of the database, the providers and their webhooks.

    With a pool, the database is interrupted more rarely after the last demanded kill.
    """

    def __init__(
        self, environment: Environment, options: Options, rng: random.Random, pool: ProcessPool | None = None
    ) -> None:
        self.environment, self.options, self.rng, self.pool = environment, options, rng, pool
        self.outages = 0

    async def run(self) -> None:
        """Inject provider faults and database outages until the harness drains."""
        last_outage = time.monotonic()
        while not self.environment.is_draining:
            await asyncio.sleep(FAULT_INTERVAL_SECONDS)
            if self.options.provider_faults and self.rng.random() < 0.5:
                await self.environment.sandbox.post("/sandbox/faults", json=self.rng.choice(PROVIDER_FAULTS))
            interval = self.options.outage_interval_seconds * _factor(self.pool, self.options)
            if interval and time.monotonic() - last_outage > interval:
                await self._interrupt_database()
                last_outage = time.monotonic()
        for fault in PROVIDER_FAULTS:
            await self.environment.sandbox.delete("/sandbox/faults", params={"fault": fault["fault"]})

    async def _interrupt_database(self) -> None:
        """Stop the database for 2 to 6 seconds; every second time it crashes first."""
        self.outages += 1
        if self.outages % 2 == 0:
            _crash(self.environment.postgres)
        await asyncio.to_thread(self.environment.postgres.stop)
        await asyncio.sleep(self.rng.uniform(2, 6))
        await asyncio.to_thread(self.environment.postgres.start)


async def inject_webhook_faults(environment: Environment, seed: int) -> None:
    """Drop, duplicate and delay webhooks of the sandbox at random from now on."""
    await environment.sandbox.post("/sandbox/faults", json={**WEBHOOK_FAULTS, "times": None, "seed": seed})


def _crash(server: EmbeddedPostgres) -> None:
    """Kill the database as a power failure does: its next start has to recover."""
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        kill_tree(int((server.data / "postmaster.pid").read_text().split("\n", 1)[0]))


def _factor(pool: ProcessPool | None, options: Options) -> int:
    """Return how many times longer processes live, and the database runs, now than at the start."""
    return LONGER_AFTER_TARGET if pool and pool.kills >= options.kills else 1


async def _wait_for_exit(process: Process, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(process.exited.wait(), seconds)


def _shuffle_forever(names: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Yield all names in random order, then again in another order, without end."""
    while True:
        yield from rng.sample(names, len(names))
