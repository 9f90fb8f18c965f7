"""Find what nobody was woken for: lost wake-ups, lost webhooks, runs and orders whose process died."""

from __future__ import annotations

from runs import deadlines, notifications
from runs.services import Services
from storage import runs as table

#: A process whose beat stopped for this many seconds is cut off from what it holds.
FROZEN_AFTER = 6.5


async def sweep(services: Services) -> int:
    """Wake everything that is due, and cut off whoever is frozen; how much there was to do.

    What happened is turned into notices and due times, and what is overdue is acted upon.
    Any number of processes may sweep at once: each finds other rows.
    """
    await services.locks.cut_off_frozen(FROZEN_AFTER)
    runs = await table.claim_due(services.db)
    orders = await services.ledger.claim_due()
    for run_id in runs:
        services.wakeups.advance(run_id)
    for key in orders:
        services.wakeups.reconcile(key)
    told = await notifications.enqueue_notifications(services)
    overdue = await deadlines.process_deadlines(services)
    return len(runs) + len(orders) + told + overdue
