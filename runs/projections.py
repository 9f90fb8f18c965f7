"""Save the progress of a thread in the row of its run."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from graph.review_content import Review
from graph.state import RunState
from graph.status import STATUS_OF_WAITING_NODE, STEP_OF_NODE
from providers.base import Unavailable
from runs.artifacts import describe_unknown_order, list_artifacts
from storage import troubles
from storage.ledger import Ledger
from storage.runs import Projection, RunRow, save_projection
from telemetry.metrics import RUNS_ENDED
from telemetry.traces import record_run

log = logging.getLogger(__name__)

#: Attempts of a step that meets a defect, or an unavailable service for about a day, before the run fails; and the
#: longest pause between them.
MAX_ATTEMPTS, MAX_OUTAGE_ATTEMPTS = 7, 2_900
MAX_BACKOFF_SECONDS = 30
#: A run that waits for orders is woken this often without any event.
WAKEUP_INTERVAL = timedelta(seconds=30)


async def save_waiting(
    ledger: Ledger, run: RunRow, state: RunState, node: str, payload: dict[str, Any], checkpoint: str
) -> bool:
    """Save that the run waits in `node`, at a checkpoint, with this interrupt payload. False if that is outdated."""
    status = STATUS_OF_WAITING_NODE[node]
    review = {key: payload[key] for key in Review.model_fields if key in payload} if "gate" in payload else None
    event: tuple[str, dict[str, Any]] | None = None
    if review and (run.review is None or run.review["revision"] != review["revision"]):
        event = ("review.opened", {**review, "checkpoint": checkpoint})
    elif run.status != status:
        event = ("status.changed", {"status": status})
    step, revision = STEP_OF_NODE[node], payload.get("revision", run.revision)
    artifacts = await list_artifacts(ledger, run.id, state)
    wake_in = None if review else max(WAKEUP_INTERVAL, _time_to_publication(state))
    projection = Projection(
        status, step, revision, review, artifacts, wake_in=wake_in, event=event, read_at=run.updated_at
    )
    if run.attempts:
        await troubles.end(ledger.db, str(run.id))
    return await save_projection(ledger.db, run.id, projection)


def _time_to_publication(state: RunState) -> timedelta:
    """Return the time until the scheduled publication; negative or none if nothing is scheduled."""
    publish_at = state.get("caption", {}).get("publish_at")
    return datetime.fromisoformat(publish_at) - datetime.now(UTC) if publish_at else timedelta()


async def save_end(ledger: Ledger, run: RunRow, state: RunState) -> None:
    """Save that the thread has ended: the run is completed, or failed for good."""
    failure = state.get("failure")
    error = {**failure, "retryable": False} if failure else None
    await _save_end(ledger, run, None, await list_artifacts(ledger, run.id, state), error)


async def retry_later(ledger: Ledger, run: RunRow, step: str | None, error: Unavailable) -> None:
    """Schedule another attempt with exponential backoff; fail the run after the last one."""
    attempts = run.attempts + 1
    await troubles.report(ledger.db, str(run.id), run.id, error)
    if attempts >= (MAX_ATTEMPTS if error.code == "internal_error" else MAX_OUTAGE_ATTEMPTS):
        await fail(ledger, run, step, error.code, error.message)
        return
    pause = timedelta(seconds=min(2 ** (attempts - 1), MAX_BACKOFF_SECONDS))
    projection = Projection("running", step, run.revision, None, run.artifacts, attempts=attempts, wake_in=pause)
    await save_projection(ledger.db, run.id, projection)


async def fail(ledger: Ledger, run: RunRow, step: str | None, code: str, message: str) -> None:
    """Fail the run with a retryable error; its thread stays where a retry resumes it."""
    log.warning("run %s failed in %s: %s (%s)", run.id, step, message, code)
    error: dict[str, Any] = {"code": code, "message": message, "retryable": True}
    orders = await ledger.list_for_run(run.id)
    if unknown := [describe_unknown_order(ledger, order) for order in orders if order.state == "unknown"]:
        error["unknown_orders"] = unknown
    await _save_end(ledger, run, step, await list_artifacts(ledger, run.id, {}, run.artifacts), error)


async def _save_end(
    ledger: Ledger, run: RunRow, step: str | None, artifacts: dict[str, Any], error: dict[str, Any] | None
) -> None:
    """Save the end of the run: failed with this error, or completed without one."""
    event = ("run.failed", {name: error[name] for name in ("code", "message")}) if error else ("run.completed", {})
    status = "failed" if error else "completed"
    projection = Projection(status, step, run.revision, None, artifacts, error, event=event)
    await troubles.end(ledger.db, str(run.id))
    if await save_projection(ledger.db, run.id, projection):
        outcome = error["code"] if error and error["code"] in ("rejected", "cancelled") else status
        RUNS_ENDED.labels(outcome).inc()
        record_run(str(run.id), run.created_at, outcome)
