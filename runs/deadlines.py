"""What happens when nobody decided in time: somebody is reminded, somebody else is told, or it is rejected."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from graph.state import Gate
from runs.decide import decide
from runs.errors import GateNotOpen, StaleReview
from runs.services import Services
from storage import reviews
from storage.reviews import DeadlineRow

DEADLINE = "deadline"
#: A rejection that was lost with its process is made by another after this long.
LOST_AFTER = timedelta(seconds=30)
TOLD_AS = {"remind": "review.reminded", "escalate": "review.escalated"}


async def process_deadlines(services: Services) -> int:
    """Do what is due, once for each due time; how many due times had come.

    Never approves. Any number of processes may call it at once: each takes other reviews.
    """
    async with services.db.transaction() as conn:
        come = await reviews.claim_due(conn)
        for due in come:
            if not due["still_open"]:
                await reviews.close_deadline(conn, due)
                continue
            if due["on_due"] == "reject":
                await reviews.reschedule(conn, due, LOST_AFTER)
            else:
                await reviews.record_reminder(conn, due, TOLD_AS[due["on_due"]])
                await reviews.advance_deadline(conn, due)
    for due in come:
        if due["still_open"] and due["on_due"] == "reject":
            await _reject(services, due)
    return len(come)


async def _reject(services: Services, due: DeadlineRow) -> None:
    hours = due["every"] / timedelta(hours=1)
    try:
        await decide(
            services,
            due["run_id"],
            cast("Gate", due["gate"]),
            verdict="reject",
            comment=f"Nobody decided within {hours:g} hours.",
            digest=due["digest"],
            decided_by=DEADLINE,
            channel=DEADLINE,
        )
    except (GateNotOpen, StaleReview):
        return  # somebody decided at the last moment
