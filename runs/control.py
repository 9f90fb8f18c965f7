"""Cancel a run, or try a failed one again."""

from __future__ import annotations

from uuid import UUID

from graph.steps import ENDED
from runs.artifacts import whereabouts
from runs.collect import find as find_order
from runs.errors import NotRetryable, OutcomeUnknown, RunEnded
from runs.look import find
from runs.production import Production
from storage import runs as table


async def cancel(production: Production, run_id: UUID, *, by: str, channel: str, external_id: str) -> None:
    """End a run. What was ordered already is not ordered back; nothing more is. Raises RunNotFound, RunEnded."""
    run = await find(production, run_id)
    if run["status"] in ENDED:
        raise RunEnded(f"The run has ended already: it is {run['status']}.", status=run["status"])
    await table.cancel(production.db, run_id, source=channel, by=by, external_id=external_id)
    production.wake.advance(str(run_id))


async def retry(
    production: Production, run_id: UUID, *, not_made: bool = False, by: str, channel: str, external_id: str
) -> None:
    """Let a failed run go on from its last checkpoint. Nothing that was paid is paid again.

    `not_made` is a person's word that orders of unknown outcome were not made: they are looked for once more, and
    those that are not found are ordered again. Raises RunNotFound, NotRetryable, OutcomeUnknown.
    """
    run = await find(production, run_id)
    error = run["error"] or {}
    if run["status"] != "failed" or not error.get("retryable"):
        said = f"it ended with {error['code']}" if error else f"it is {run['status']}"
        raise NotRetryable(f"This run cannot be tried again: {said}.", status=run["status"])
    await _settle_unknown(production, run_id, not_made=not_made, by=by, channel=channel)
    await table.retry(production.db, run_id, source=channel, by=by, external_id=external_id)
    production.wake.advance(str(run_id))


async def _settle_unknown(production: Production, run_id: UUID, *, not_made: bool, by: str, channel: str) -> None:
    unknown = [order for order in await production.ledger.of_run(run_id) if order["state"] == "unknown"]
    for order in unknown:
        await find_order(production, order)
    lost = [o for o in await production.ledger.of_run(run_id) if o["state"] == "unknown"]
    if lost and not not_made:
        raise OutcomeUnknown(
            "It is not known whether what was ordered was made. Look at the provider; if it was not, "
            "try again with not_made, and it is ordered again.",
            orders=[whereabouts(production, order) for order in lost],
        )
    if lost:
        await production.ledger.declare_not_made(run_id, by=by, channel=channel)
