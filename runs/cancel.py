"""Cancel a run."""

from uuid import UUID

from graph.status import TERMINAL_STATUSES
from runs.errors import ApprovalNotPermitted, RunEnded
from runs.queries import get_run
from runs.services import Services
from storage import run_requests
from storage.actors import Actor, RequestContext
from storage.database import Database
from storage.runs import RunRow


async def cancel_run(services: Services, run_id: UUID, context: RequestContext) -> None:
    """End a run. Orders that were placed are not revoked; no more are placed. Raises as `get_cancellable_run`."""
    await get_cancellable_run(services.db, run_id, context.actor)
    await run_requests.cancel_run(services.db, run_id, context)
    services.wakeups.advance(str(run_id))


async def get_cancellable_run(db: Database, run_id: UUID, actor: Actor) -> RunRow:
    """Return a run that the actor can cancel.

    Raises RunNotFound, RunEnded, and ApprovalNotPermitted for the run of another actor without approval permission.
    """
    run = await get_run(db, run_id)
    if run.actor_id != actor.id and not actor.can_approve:
        raise ApprovalNotPermitted("API key lacks approval permission; it can cancel only the runs that it started.")
    if run.status in TERMINAL_STATUSES:
        raise RunEnded(f"The run has ended: its status is {run.status}.", status=run.status)
    return run
