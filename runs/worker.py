"""The worker: executes wake-ups, and sweeps for lost ones, what dead processes left, and overdue reviews."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import cast

from graph.decisions import DecisionInput, Gate
from runs.advance import advance
from runs.decide import decide
from runs.errors import GateNotOpen, StaleReview
from runs.messages import announce_dates_and_budgets
from runs.notifications import enqueue_notifications, send_due_notifications
from runs.pruning import prune
from runs.queue import ORDERS, RENDERS, RUNS, Claim, LocalQueue, LocalWorker, Loop, Work, repeating
from runs.reconcile import reconcile_order
from runs.renders import Renders
from runs.services import Services
from storage import reviews, runs as table, troubles
from storage.actors import Actor, RequestContext
from storage.pruning import claim_daily
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

#: A process without a heartbeat for this time loses its locks.
FROZEN_AFTER_SECONDS = 6.5
DEADLINE = RequestContext(Actor("deadline", "deadline", "deadline", frozenset({"approve"})), "deadline")
#: Another process repeats a rejection that was lost with its process after this time.
REJECTION_TIMEOUT = timedelta(seconds=30)


@asynccontextmanager
async def run_worker(services: Services, *, only: str | None = None) -> AsyncIterator[None]:
    """Work on runs and orders while the block runs, with `only` on this run and on no other.

    The settings of a process with `only` may differ from those of the workers that share its database. On exit runs
    stop at their next superstep and work may finish within `SHUTDOWN_GRACE_SECONDS`; others take over what is left.
    """
    local, locks = _local_worker(services, only), services.locks
    loops: list[Loop] = [
        (partial(sweep, services, local), SWEEP_INTERVAL_SECONDS),
        (partial(listen, locks.session_url, locks.worker_id, local.request_claims), RESTART_PAUSE_SECONDS),
        (partial(clean_up, services), CLEANUP_INTERVAL_SECONDS),
        (partial(announce_dates_and_budgets, services), CLEANUP_INTERVAL_SECONDS),
        (partial(send_due_notifications, services), SEND_INTERVAL_SECONDS),
    ]
    services.wakeups.local = local
    if only:
        loops = [(local.request_claims, SWEEP_INTERVAL_SECONDS)]
        services.wakeups.advance(only)
    try:
        claims = [(each.claim_due, 0.0) for each in local.queues.values()]
        async with repeating(*loops, *claims, worker_id=locks.worker_id):
            yield
    finally:
        services.drain.request_drain("the process was requested to stop")
        services.wakeups.local = None
        await local.stop(SHUTDOWN_GRACE_SECONDS)


def _local_worker(services: Services, run_id: str | None) -> LocalWorker:
    only = [run_id] if run_id else None
    renders = Renders(services, only)
    work: dict[str, tuple[Work, Claim]] = {
        RUNS: (partial(advance, services), partial(table.claim_due, services.db, only=only)),
        ORDERS: (partial(reconcile_order, services), partial(services.ledger.claim_due, only=only, renders=False)),
        RENDERS: (renders.reconcile, renders.claim),
    }
    return LocalWorker({name: LocalQueue(*work[name], SLOTS[name], services.locks.worker_id) for name in work}, run_id)


async def sweep(services: Services, local: LocalWorker) -> None:
    """Start every run and order that is due, as slots become free, and handle notifications, deadlines and troubles.

    Frozen workers are disconnected. A process without its locks claims nothing: that raises.
    """
    await services.locks.disconnect_frozen_workers(FROZEN_AFTER_SECONDS)
    await local.request_claims()
    await enqueue_notifications(services)
    await process_deadlines(services)
    await troubles.request_attention(services.db)


async def clean_up(services: Services) -> None:
    """Forget idle clients of the rate limit, and prune, once a day in one of the workers."""
    await forget_idle(services.db)
    if services.keep and await claim_daily(services.db, "prune"):
        await prune(services, services.keep, "MYLOWARE_KEEP_DAYS")


async def process_deadlines(services: Services) -> int:
    """Process the deadlines that have passed, once for each due time, and return their number. Never approves."""
    claimed = await reviews.claim_due_deadlines(services.db, rejected_within=REJECTION_TIMEOUT)
    for row in claimed:
        if row.still_open and row.on_due == "reject":
            # A decision may have arrived at the last moment.
            with suppress(GateNotOpen, StaleReview):
                comment = f"No decision within {row.repeat_every / timedelta(hours=1):g} hours."
                decision = DecisionInput(verdict="reject", comment=comment, digest=row.digest)
                await decide(services, row.run_id, cast("Gate", row.gate), decision, DEADLINE)
    return len(claimed)
