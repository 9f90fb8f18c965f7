"""The worker: executes wake-ups, and sweeps for lost ones."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

from runs.advance import advance
from runs.notifications import send_due_notifications
from runs.queue import ORDERS, RENDERS, RUNS, LocalQueue, LocalWorker, Queue, repeat
from runs.reconcile import reconcile_order
from runs.services import Services
from runs.sweep import sweep
from storage import runs as table
from storage.rate_limits import forget_idle
from storage.wakeups import listen

#: Subjects of each queue that a process works on at once. One render uses two cores.
SLOTS = {RUNS: 8, ORDERS: 4, RENDERS: max(1, (os.cpu_count() or 2) // 2)}
RESTART_PAUSE_SECONDS = 1.0
SWEEP_INTERVAL_SECONDS = 1.0
CLEANUP_INTERVAL_SECONDS = 60.0
SEND_INTERVAL_SECONDS = 1.0
#: How long work may take to finish after the process is requested to stop.
SHUTDOWN_GRACE_SECONDS = 10.0

Loop = tuple[Callable[[], Awaitable[object]], float]


@asynccontextmanager
async def run_worker(services: Services, queue: Queue) -> AsyncIterator[None]:
    """Work on runs and orders while the block runs.

    On exit runs stop at their next superstep and work may finish within `SHUTDOWN_GRACE_SECONDS`; another worker
    takes over the rest.
    """
    local, locks = _local_worker(services), services.locks
    loops: list[Loop] = [
        (partial(sweep, services, local), SWEEP_INTERVAL_SECONDS),
        (partial(listen, locks.session_url, locks.worker_id, local.request_claims), RESTART_PAUSE_SECONDS),
        (partial(forget_idle, services.db), CLEANUP_INTERVAL_SECONDS),
        (partial(send_due_notifications, services), SEND_INTERVAL_SECONDS),
    ]
    async with _working(services, queue, local, loops):
        yield


@asynccontextmanager
async def run_own_worker(services: Services, queue: Queue, run_id: str) -> AsyncIterator[None]:
    """Work on this run, and on no other, while the block runs.

    The settings of this process may differ from those of the workers that share its database.
    """
    local = _local_worker(services, run_id)

    async def sweep_run() -> None:
        local.request_claims()

    async with _working(services, queue, local, [(sweep_run, SWEEP_INTERVAL_SECONDS)]):
        services.wakeups.advance(run_id)
        yield


def _local_worker(services: Services, run_id: str | None = None) -> LocalWorker:
    only, reconcile = [run_id] if run_id else None, partial(reconcile_order, services)
    claim_runs, claim_orders = partial(table.claim_due, services.db), services.ledger.claim_due
    work = {
        RUNS: (partial(advance, services), partial(claim_runs, only=only)),
        ORDERS: (reconcile, partial(claim_orders, only=only, renders=False)),
        RENDERS: (reconcile, partial(claim_orders, only=only, renders=True)),
    }
    return LocalWorker({name: LocalQueue(*work[name], SLOTS[name]) for name in work}, run_id)


@asynccontextmanager
async def _working(
    services: Services, queue: Queue, local: LocalWorker, loops: Collection[Loop]
) -> AsyncIterator[None]:
    claims = [(each.claim_due, 0.0) for each in local.queues.values()]
    tasks = [asyncio.create_task(repeat(work, pause)) for work, pause in (*loops, *claims)]
    queue.local = local
    try:
        yield
    finally:
        services.drain.request_drain("the process was requested to stop")
        queue.local = None
        await asyncio.gather(_end(tasks), local.stop(SHUTDOWN_GRACE_SECONDS))


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended. A library may lose one cancellation in `asyncio.wait_for` of Python 3.11."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=SHUTDOWN_GRACE_SECONDS + 1)
