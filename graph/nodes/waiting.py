"""What the steps share: waiting for orders, and saying that something could not be made."""

from __future__ import annotations

from collections.abc import Sequence

from langgraph.types import interrupt

from agents.ideator import Idea
from graph.ports import Ports
from graph.state import Offer, State
from prompts.project import Project
from providers.orders import Standing


class StepFailed(Exception):
    """A step cannot go on by itself. A person may ask to try it again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def all_over(keys: list[str], what: str, ports: Ports) -> dict[str, Standing]:
    """How these orders stand, once nothing more will come of any of them by itself."""
    while True:
        standing = await ports.ledger.standing(keys)
        missing = [key for key in keys if key not in standing or not standing[key].over]
        if not missing:
            return standing
        interrupt({"waiting_for": what, "orders": missing, "hint": "resumed automatically"})


async def asked_again(state: State, failed: Sequence[Standing], ports: Ports) -> bool:
    """Whether a person asked for another try of these, after they failed.

    What is of unknown outcome has not failed: nobody can ask for it again before a person has said that it was not
    made.
    """
    ended = [standing.settled_at for standing in failed if standing.settled_at]
    if not ended or any(standing.state == "unknown" for standing in failed):
        return False
    return await ports.inbox.asked_again(state["run"]["id"], max(ended))


def not_made(what: str, standing: Standing) -> StepFailed:
    if standing.state == "unknown":
        code = "publication_unconfirmed" if standing.kind == "publication" else f"{standing.kind}_outcome_unknown"
        return StepFailed(code, f"{what} may or may not have been made: look at the provider.")
    code = standing.result.get("code", f"{standing.kind}_failed")
    said = str(standing.result.get("message", "the provider gave no reason")).rstrip(".")
    charged = f" It is charged for all the same: {standing.amount_usd} USD." if standing.result.get("charged") else ""
    return StepFailed(code, f"{what} could not be made: {said}.{charged}")


def ended(code: str, message: str) -> State:
    return {"failure": {"code": code, "message": message}}


def project_of(state: State, ports: Ports) -> Project:
    return ports.project(state["run"]["project"], state["run"]["options"])


def offer_shown(state: State, ports: Ports) -> Offer:
    """Clips as the gate showed them. A gate of before it told of model, length and size meant those of the settings."""
    project, shown = project_of(state, ports), state["ideas"]
    return Offer(
        model=shown.get("model", ports.video.model),
        seconds=shown.get("seconds", project.clip_seconds),
        size=shown.get("size", project.clip_size),
        usd_per_clip=shown["usd_per_clip"],
    )


def ideas_of(state: State) -> list[Idea]:
    return [Idea.model_validate(idea) for idea in state["ideas"]["ideas"]]
