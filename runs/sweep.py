"""Find work without a wake-up: lost wake-ups and webhooks, and the runs and orders of processes that died."""

from runs import deadlines, notifications
from runs.services import Services
from storage import runs as table
from storage import troubles

#: A process without a heartbeat for this time loses its locks.
FROZEN_AFTER_SECONDS = 6.5


async def sweep(services: Services) -> int:
    """Wake every run and order that is due, handle notifications, deadlines and troubles; return their number.

    Frozen workers are disconnected. Concurrent processes claim different rows.
    """
    await services.locks.disconnect_frozen_workers(FROZEN_AFTER_SECONDS)
    woken = await sweep_runs(services)
    notified = await notifications.enqueue_notifications(services)
    overdue = await deadlines.process_deadlines(services)
    late = await troubles.request_attention(services.db)
    return woken + notified + overdue + late


async def sweep_runs(services: Services, only: list[str] | None = None) -> int:
    """Wake every run and order that is due, with `only` those of these runs; return how many there were."""
    run_ids = await table.claim_due(services.db, only=only)
    order_keys = await services.ledger.claim_due(only=only)
    for run_id in run_ids:
        services.wakeups.advance(run_id)
    for key in order_keys:
        services.wakeups.reconcile(key)
    return len(run_ids) + len(order_keys)
