"""Helpers of the nodes: waits for orders, failures, and typed access to the state."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from langgraph.types import interrupt

from graph.decisions import Gate, GateDecision
from graph.dependencies import Dependencies
from graph.state import CaptionState, RunState
from prompts.project import Project
from providers.base import ProviderError
from providers.orders import OrderStatus, RetryOptions
from providers.publications.post import ai_labels


class StepFailed(ProviderError):
    """A step cannot continue without a person. A retry runs it again."""


async def await_orders(keys: list[str], subject: str, deps: Dependencies) -> dict[str, OrderStatus]:
    """Return the statuses of these orders once all are terminal; interrupt the run until then.

    The orders are read from the ledger on every visit, so the value that resumes the run does not matter.
    """
    while True:
        statuses = await deps.ledger.statuses(keys)
        open_keys = [key for key in keys if key not in statuses or not statuses[key].is_terminal]
        if not open_keys:
            return statuses
        interrupt({"waiting_for": subject, "orders": open_keys, "hint": "resumed automatically"})


async def requested_retry(state: RunState, failed: Collection[OrderStatus], deps: Dependencies) -> RetryOptions | None:
    """Return the options of the retry that a person requested after these orders failed, or None.

    An order of unknown outcome has not failed: it can be retried only after a person has declared it not made.
    """
    ended = [status.settled_at for status in failed if status.settled_at]
    if not ended or any(status.state == "unknown" for status in failed):
        return None
    return await deps.records.retry_requested_since(state["run_id"], max(ended))


def order_failure(subject: str, status: OrderStatus) -> StepFailed:
    """Return the error for a failed order. `subject` names the order in its message: "Clip 2"."""
    if status.state == "unknown":
        code = "publication_unconfirmed" if status.kind == "publication" else f"{status.kind}_outcome_unknown"
        return StepFailed(code, f"{subject} may or may not have been made. Check at the provider.")
    code = status.result.get("code", f"{status.kind}_failed")
    reason = str(status.result.get("message", "the provider gave no reason")).rstrip(".")
    charged = f" It is charged nevertheless: {status.amount_usd} USD." if status.result.get("charged") else ""
    return StepFailed(code, f"{subject} failed: {reason}.{charged}")


def end_run(code: str, message: str) -> RunState:
    """Return the update that ends the run with a failure."""
    return {"route": "end", "failure": {"code": code, "message": message}}


def project_of_run(state: RunState, deps: Dependencies) -> Project:
    """Return the project of the run with its options."""
    return deps.project(state["project"], state["options"])


def with_disclosure(post: Mapping[str, Any], state: RunState, deps: Dependencies) -> CaptionState:
    """Return the post with how it is disclosed as generated on its platforms."""
    labels = ai_labels(deps.publisher_of(state["project"]), post["platforms"])
    return cast("CaptionState", {**post, "labels": labels, "disclosure": project_of_run(state, deps).disclosure})


def decision_at(gate: Gate, state: RunState) -> GateDecision:
    """Return the last decision at the gate."""
    return GateDecision.model_validate(state["decisions"][gate])
