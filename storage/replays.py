"""Replays: the same order, submitted again to a provider that recognises its key and returns the first order.

A lookup changes nothing; a replay buys if the first call never arrived. It is admitted like the first call.
"""

import logging
import time
from datetime import UTC, datetime

from providers.base import NotSent, OutcomeUnknown, Refused
from storage.admission import check_replay
from storage.database import fetch_one, read_statements
from storage.events import record_event
from storage.failpoints import hit
from storage.ledger import CLAIM_TIMEOUT_SECONDS, Ledger
from storage.orders import OrderRow
from storage.spending import lock_spending

log = logging.getLogger(__name__)

sql = read_statements("replays")


async def replay_order(ledger: Ledger, key: str) -> bool:
    """Submit an order without a known outcome again, if its provider, its approval and the caps permit it.

    Hold the lock of the order: two calls at the same time could be two orders. Return False if it may not be
    submitted again.
    """
    started_at = time.monotonic()
    order = await _claim(ledger, key)
    if order is None:
        return False
    hit("submit.before")
    if time.monotonic() - started_at > CLAIM_TIMEOUT_SECONDS:
        return True  # the process was frozen: the next poll decides again
    try:
        task_id = await ledger.provider_of(order).submit(order.request, key=order.key)
    except (NotSent, OutcomeUnknown) as error:
        log.info("order %s: the replay has no answer: %s", key, error.message)
    except Refused as error:
        # Refers to the second call: the first one may have been accepted all the same.
        log.warning("order %s: the replay was refused: %s", key, error.message)
        await ledger.mark_unknown(key)
    else:
        hit("submit.after")
        if not await ledger.bind(order, task_id):
            await ledger.report_duplicates(key, [task_id])
    return True


async def _claim(ledger: Ledger, key: str) -> OrderRow | None:
    """Return the order to submit again, or None if it may not be."""
    order = await ledger.get(key)
    replayable = ledger.provider_of(order).replayable if order else None
    if order is None or replayable is None or datetime.now(UTC) - (order.called_at or order.created_at) > replayable:
        return None
    async with ledger.db.transaction() as conn:
        await lock_spending(conn, order.run_id, orders=[key])
        if refused := await check_replay(conn, ledger.caps, order):
            log.info("order %s is not submitted again: %s", key, refused["message"])
            return None
        if await fetch_one(conn, sql["claim"], {"key": key, "replayable": replayable}) is None:
            return None
        await record_event(conn, "ledger", "order.replayed", order.run_id, {}, subject=key)
        return order
