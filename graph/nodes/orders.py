"""What the steps share: waiting for orders, and saying that something could not be made."""

from __future__ import annotations

from collections.abc import Sequence

from langgraph.types import interrupt

from agents.ideator import Idea
from graph.dependencies import Dependencies
from graph.state import Offer, RunState
from prompts.project import Project
from providers.orders import OrderStatus


class StepFailed(Exception):
    """A step cannot go on by itself. A person may ask to try it again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def await_orders(keys: list[str], what: str, deps: Dependencies) -> dict[str, OrderStatus]:
    """How these orders stand, once nothing more will come of any of them by itself."""
    while True:
        standing = await deps.ledger.statuses(keys)
        missing = [key for key in keys if key not in standing or not standing[key].is_terminal]
        if not missing:
            return standing
        interrupt({"waiting_for": what, "orders": missing, "hint": "resumed automatically"})


async def retry_requested(state: RunState, failed: Sequence[OrderStatus], deps: Dependencies) -> bool:
    """Whether a person asked for another try of these, after they failed.

    What is of unknown outcome has not failed: nobody can ask for it again before a person has said that it was not
    made.
    """
    ended = [standing.settled_at for standing in failed if standing.settled_at]
    if not ended or any(standing.state == "unknown" for standing in failed):
        return False
    return await deps.feedback.retry_requested_since(state["run"]["id"], max(ended))


def order_failure(what: str, standing: OrderStatus) -> StepFailed:
    if standing.state == "unknown":
        code = "publication_unconfirmed" if standing.kind == "publication" else f"{standing.kind}_outcome_unknown"
        return StepFailed(code, f"{what} may or may not have been made: look at the provider.")
    code = standing.result.get("code", f"{standing.kind}_failed")
    said = str(standing.result.get("message", "the provider gave no reason")).rstrip(".")
    charged = f" It is charged for all the same: {standing.amount_usd} USD." if standing.result.get("charged") else ""
    return StepFailed(code, f"{what} could not be made: {said}.{charged}")


def end_run(code: str, message: str) -> RunState:
    return {"failure": {"code": code, "message": message}}


def project_of_run(state: RunState, deps: Dependencies) -> Project:
    return deps.project(state["run"]["project"], state["run"]["options"])


def approved_offer(state: RunState, deps: Dependencies) -> Offer:
    """Clips as the gate showed them. A gate of before it told of model, length and size meant those of the settings."""
    project, content = project_of_run(state, deps), state["ideas"]
    return Offer(
        model=content.get("model", deps.video.model),
        seconds=content.get("seconds", project.clip_seconds),
        size=content.get("size", project.clip_size),
        usd_per_clip=content["usd_per_clip"],
    )


def ideas_of(state: RunState) -> list[Idea]:
    return [Idea.model_validate(idea) for idea in state["ideas"]["ideas"]]
