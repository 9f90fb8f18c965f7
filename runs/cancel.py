"""Cancel a run."""

from __future__ import annotations

from uuid import UUID

from graph.status import TERMINAL_STATUSES
from runs.errors import ApprovalNotPermitted, RunEnded
from runs.queries import get_run
from runs.services import Services
from storage import api_keys
from storage import runs as table


async def cancel_run(services: Services, run_id: UUID, *, by: str, channel: str, external_id: str) -> None:
    """End a run. What was ordered already is not ordered back; nothing more is.

    Raises RunNotFound, RunEnded, and MayNotDecide for somebody else's run and a key that may not decide.
    """
    run = await get_run(services, run_id)
    if run["started_by"] != by and not await api_keys.can_approve(services.db, by):
        raise ApprovalNotPermitted("This key may end the runs that it started, and no others.")
    if run["status"] in TERMINAL_STATUSES:
        raise RunEnded(f"The run has ended already: it is {run['status']}.", status=run["status"])
    await table.cancel_run(services.db, run_id, source=channel, by=by, external_id=external_id)
    services.wakeups.advance(str(run_id))
