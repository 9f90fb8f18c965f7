"""Find what nobody was woken for: lost wake-ups, lost webhooks, runs and orders whose process died."""

from __future__ import annotations

from runs.production import Production
from storage import runs as table

#: A process whose beat stopped for this many seconds is cut off from what it holds.
FROZEN_AFTER = 6.5


async def sweep(production: Production) -> int:
    """Wake everything that is due, and cut off whoever is frozen; how much was woken.

    Any number of processes may sweep at once: each finds other rows.
    """
    await production.locks.cut_off_frozen(FROZEN_AFTER)
    runs = await table.due(production.db)
    orders = await production.ledger.due()
    for run_id in runs:
        production.wake.advance(run_id)
    for key in orders:
        production.wake.collect(key)
    return len(runs) + len(orders)
