"""The worker: executes queued wake-ups, and sweeps for lost ones."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

from procrastinate.jobs import Status

from runs.advance import advance
from runs.notifications import send_due_notifications
from runs.queue import ORDERS, RENDERS, RUNS, LocalWorker, Queue, Task, Work, log_failure, run_logged
from runs.reconcile import reconcile_order
from runs.services import Services
from runs.sweep import sweep, sweep_runs
from storage.rate_limits import forget_idle

#: Jobs of each queue that a process executes at once. One render uses two cores.
CONCURRENCY = {RUNS: 8, ORDERS: 4, RENDERS: max(1, (os.cpu_count() or 2) // 2)}
RESTART_PAUSE_SECONDS = 1.0
SWEEP_INTERVAL_SECONDS = 1.0
#: Work that failed after so long has succeeded in between.
NEW_FAILURE_AFTER_SECONDS = 60.0
CLEANUP_INTERVAL_SECONDS = 60.0
SEND_INTERVAL_SECONDS = 1.0
#: How long a job may take to finish after the process is requested to stop.
SHUTDOWN_GRACE_SECONDS = 10.0


@asynccontextmanager
async def run_worker(services: Services, queue: Queue) -> AsyncIterator[None]:
    """Execute jobs while the block runs.

    On exit runs stop at their next superstep and jobs may finish within `SHUTDOWN_GRACE_SECONDS`; another worker
    takes over the rest.
    """
    work = _work(services)

    for name, function in work.items():
        queue.app.task(name=name)(partial(run_logged, function))
    queue.local = local = LocalWorker(work, CONCURRENCY[RUNS])
    loops = [
        _repeat(partial(sweep, services), SWEEP_INTERVAL_SECONDS),
        _repeat(partial(_delete_stalled_jobs, queue), CLEANUP_INTERVAL_SECONDS),
        _repeat(partial(forget_idle, services.db), CLEANUP_INTERVAL_SECONDS),
        _repeat(partial(send_due_notifications, services), SEND_INTERVAL_SECONDS),
        *(_repeat(partial(_serve, queue, name, jobs), RESTART_PAUSE_SECONDS) for name, jobs in CONCURRENCY.items()),
    ]
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        services.drain.request_drain("the process was requested to stop")
        queue.local = None
        await asyncio.gather(_end(tasks), local.stop(SHUTDOWN_GRACE_SECONDS))


@asynccontextmanager
async def run_own_worker(services: Services, queue: Queue, run_id: str) -> AsyncIterator[None]:
    """Work on this run, and on no other, while the block runs.

    The settings of this process may differ from those of the workers that share its database.
    """
    queue.local = local = LocalWorker(_work(services), run_id=run_id)
    sweeper = asyncio.create_task(_repeat(partial(sweep_runs, services, [run_id]), SWEEP_INTERVAL_SECONDS))
    services.wakeups.advance(run_id)
    try:
        yield
    finally:
        services.drain.request_drain("the process was requested to stop")
        queue.local = None
        await asyncio.gather(_end([sweeper]), local.stop(SHUTDOWN_GRACE_SECONDS))


def _work(services: Services) -> dict[Task, Work]:
    return {"advance": partial(advance, services), "reconcile": partial(reconcile_order, services)}


async def _serve(queue: Queue, name: str, concurrency: int) -> None:
    await queue.app.run_worker_async(
        queues=[name],
        name=name,
        concurrency=concurrency,
        install_signal_handlers=False,
        shutdown_graceful_timeout=SHUTDOWN_GRACE_SECONDS,
        # A job is only a wake-up: the tables of the product are the record of what happened.
        delete_jobs="always",
    )


async def _delete_stalled_jobs(queue: Queue) -> None:
    """Delete the jobs of processes that died; the sweeper has sent other wake-ups since."""
    for job in await queue.app.job_manager.get_stalled_jobs():
        await queue.app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended. A library may lose one cancellation in `asyncio.wait_for` of Python 3.11."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=SHUTDOWN_GRACE_SECONDS + 1)


async def _repeat(work: Callable[[], Awaitable[object]], pause_seconds: float) -> None:
    """Repeat the work until cancelled. No error ends the loop: the sweeper finds work that failed.

    An error that is repeated at once is logged the first time.
    """
    last = ""
    while True:
        started_at = time.monotonic()
        try:
            await work()
            last = ""
        except Exception as error:
            if repr(error) != last or time.monotonic() - started_at > NEW_FAILURE_AFTER_SECONDS:
                log_failure(error)
            last = repr(error)
        await asyncio.sleep(pause_seconds)
