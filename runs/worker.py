"""The worker: takes wake-ups from the queue, and sweeps for those that were lost."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from procrastinate.jobs import Status

from runs.advance import advance
from runs.notifications import send_due_notifications
from runs.queue import ORDERS, RENDERS, RUNS, Queue
from runs.reconcile import reconcile_order
from runs.services import Services
from runs.sweep import sweep
from storage.database import DatabaseUnavailable

log = logging.getLogger(__name__)

#: How many of each a process works on at once. A render uses two cores by itself.
CONCURRENCY = {RUNS: 8, ORDERS: 4, RENDERS: max(1, (os.cpu_count() or 2) // 2)}
SWEEP_EVERY = 1.0
TIDY_EVERY = 60.0
SEND_EVERY = 1.0
#: How long a job may take to end by itself when the process is asked to stop.
GRACE = 10.0


@asynccontextmanager
async def run_worker(services: Services, queue: Queue) -> AsyncIterator[None]:
    """Work while the block runs. Leaving it lets runs come to their next superstep and jobs
    under way finish, for `GRACE` seconds at most; what is left then is taken up by another worker."""

    @queue.app.task(name="advance")
    async def _advance(about: str) -> None:
        await advance(services, about)

    @queue.app.task(name="reconcile")
    async def _reconcile(about: str) -> None:
        await reconcile_order(services, about)

    work = [
        asyncio.create_task(_again_and_again(partial(_serve, queue, name, many), pause=1.0))
        for name, many in CONCURRENCY.items()
    ]
    work.append(asyncio.create_task(_again_and_again(lambda: sweep(services), pause=SWEEP_EVERY)))
    work.append(asyncio.create_task(_again_and_again(lambda: _tidy(queue), pause=TIDY_EVERY)))
    work.append(asyncio.create_task(_again_and_again(lambda: send_due_notifications(services), pause=SEND_EVERY)))
    try:
        yield
    finally:
        services.draining.request_drain("the process was asked to stop")
        for task in work:
            task.cancel()
        await asyncio.wait(work)


async def _serve(queue: Queue, name: str, concurrency: int) -> None:
    await queue.app.run_worker_async(
        queues=[name],
        name=name,
        concurrency=concurrency,
        install_signal_handlers=False,
        shutdown_graceful_timeout=GRACE,
        # The rows of the product say what happened: a job is only a wake-up, and leaves nothing behind.
        delete_jobs="always",
    )


async def _tidy(queue: Queue) -> None:
    """Forget the jobs of processes that died; the sweeper has woken others for them long since."""
    for job in await queue.app.job_manager.get_stalled_jobs():
        await queue.app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)


async def _again_and_again(work: Callable[[], Awaitable[object]], *, pause: float) -> None:
    """Do this for ever. The one place where any error is survived: what failed is found again by the sweeper."""
    while True:
        try:
            await work()
        except Exception as error:
            # Procrastinate lays an error of its own around that of the database.
            away = next((each for each in (error, error.__cause__) if isinstance(each, DatabaseUnavailable)), None)
            if away is None:
                log.exception("work was interrupted; it goes on in %.0f s", pause)
            else:
                log.warning("the database is away: %s", str(away).partition("\n")[0])
        await asyncio.sleep(pause)
