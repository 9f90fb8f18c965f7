"""Find what nobody was woken for: lost wake-ups, lost webhooks, runs and orders whose process died."""

from __future__ import annotations

from runs import deadline, notice
from runs.production import Production
from storage import runs as table

#: A process whose beat stopped for this many seconds is cut off from what it holds.
FROZEN_AFTER = 6.5


async def sweep(production: Production) -> int:
    """Wake everything that is due, and cut off whoever is frozen; how much there was to do.

    What happened is turned into notices and due times, and what is overdue is acted upon.
    Any number of processes may sweep at once: each finds other rows.
    """
    await production.locks.cut_off_frozen(FROZEN_AFTER)
    runs = await table.due(production.db)
    orders = await production.ledger.due()
    for run_id in runs:
        production.wake.advance(run_id)
    for key in orders:
        production.wake.collect(key)
    told = await notice.write_down(production)
    overdue = await deadline.act(production)
    return len(runs) + len(orders) + told + overdue
