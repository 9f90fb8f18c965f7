"""Cancel a run, or try a failed one again."""

from __future__ import annotations

from uuid import UUID

from graph.steps import ENDED
from runs.errors import NotRetryable, RunEnded
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


async def retry(production: Production, run_id: UUID, *, by: str, channel: str, external_id: str) -> None:
    """Let a failed run go on from its last checkpoint. Nothing that was paid is paid again.

    Raises RunNotFound, NotRetryable.
    """
    run = await find(production, run_id)
    error = run["error"] or {}
    if run["status"] != "failed" or not error.get("retryable"):
        said = f"it ended with {error['code']}" if error else f"it is {run['status']}"
        raise NotRetryable(f"This run cannot be tried again: {said}.", status=run["status"])
    await table.retry(production.db, run_id, source=channel, by=by, external_id=external_id)
    production.wake.advance(str(run_id))
