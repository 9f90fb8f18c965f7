"""Cancel a run."""

from uuid import UUID

from graph.status import TERMINAL_STATUSES
from runs.errors import ApprovalNotPermitted, RunEnded
from runs.queries import get_run
from runs.services import Services
from storage import run_requests
from storage.actors import RequestContext


async def cancel_run(services: Services, run_id: UUID, context: RequestContext) -> None:
    """End a run. Orders that were placed are not revoked; no more are placed.

    Raises RunNotFound, RunEnded, and ApprovalNotPermitted for the run of another actor without approval permission.
    """
    run = await get_run(services.db, run_id)
    if run.actor_id != context.actor.id and not context.actor.can_approve:
        raise ApprovalNotPermitted("API key lacks approval permission; it can cancel only the runs that it started.")
    if run.status in TERMINAL_STATUSES:
        raise RunEnded(f"The run has ended: its status is {run.status}.", status=run.status)
    await run_requests.cancel_run(services.db, run_id, context)
    services.wakeups.advance(str(run_id))
