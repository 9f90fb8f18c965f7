"""Find work without a wake-up: lost wake-ups and webhooks, what dead processes left, and overdue reviews."""

from contextlib import suppress
from datetime import timedelta
from typing import cast

from graph.decisions import DecisionInput, Gate
from runs import notifications
from runs.decide import decide
from runs.errors import GateNotOpen, StaleReview
from runs.queue import LocalWorker
from runs.services import Services
from storage import reviews, troubles
from storage.actors import Actor, RequestContext

#: A process without a heartbeat for this time loses its locks.
FROZEN_AFTER_SECONDS = 6.5
DEADLINE = RequestContext(Actor("deadline", "deadline", "deadline", frozenset({"approve"})), "deadline")
#: Another process repeats a rejection that was lost with its process after this time.
REJECTION_TIMEOUT = timedelta(seconds=30)


async def sweep(services: Services, local: LocalWorker) -> None:
    """Start every run and order that is due, as slots become free, and handle notifications, deadlines and troubles.

    Frozen workers are disconnected. A process without its locks claims nothing: that raises.
    """
    await services.locks.disconnect_frozen_workers(FROZEN_AFTER_SECONDS)
    await local.request_claims()
    await notifications.enqueue_notifications(services)
    await process_deadlines(services)
    await troubles.request_attention(services.db)


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
