"""Helpers of the nodes: waits for orders, failures, and typed access to the state."""

from __future__ import annotations

from collections.abc import Sequence

from langgraph.types import interrupt

from agents.ideator import Idea
from graph.dependencies import Dependencies
from graph.state import RunState
from prompts.project import Project
from providers.orders import OrderStatus


class StepFailed(Exception):
    """A step cannot continue without a person. A retry runs it again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


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


async def is_retry_requested(state: RunState, failed: Sequence[OrderStatus], deps: Dependencies) -> bool:
    """Return whether a person requested a retry after these orders failed.

    An order of unknown outcome has not failed: it can be retried only after a person has declared it not made.
    """
    ended = [status.settled_at for status in failed if status.settled_at]
    if not ended or any(status.state == "unknown" for status in failed):
        return False
    return await deps.feedback.retry_requested_since(state["run"]["id"], max(ended))


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
    return deps.project(state["project"], state["run"]["options"])


def ideas_of(state: RunState) -> list[Idea]:
    """Return all ideas, in order of their clip numbers."""
    return [Idea.model_validate(idea) for idea in state["ideas"]["ideas"]]
