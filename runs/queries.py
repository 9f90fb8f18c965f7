"""Read runs: one, or a page of them."""

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Unpack
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field

from graph.review_content import Review
from graph.status import Status
from runs.errors import GateNotOpen, InvalidRequest, RunNotFound, RunPruned
from storage import runs as table, troubles
from storage.actors import Actor
from storage.database import Database
from storage.runs import RunInFull, RunRow

if TYPE_CHECKING:
    from runs.services import Services

Row = TypeVar("Row", bound=RunRow)

#: The shortest start of an id that names a run, and the most matches that an error lists.
MIN_PREFIX_CHARACTERS, MAX_LISTED_MATCHES = 6, 5


class RunFailure(BaseModel, extra="allow"):
    """Why a run failed, and whether it can be retried."""

    code: str
    message: str
    retryable: bool = False


Usd = Annotated[float, BeforeValidator(lambda amount: round(float(amount), 4))]


class RunCost(BaseModel):
    """The costs of a run, in USD."""

    estimated_usd: Usd | None
    reserved_usd: Usd
    spent_usd: Usd
    cap_usd: Usd


class Waiting(BaseModel):
    """What a run waits for: an order, a step or a worker.

    `last_answer` and `code` are those of the last attempt without a useful answer, `attempts` counts these attempts,
    and `since` is the time of the first one, or the time since which the order or step is awaited. `scheduled_for` is
    the time, in the future, before which a film is not posted.
    """

    what: str = Field(validation_alias="name")
    provider: str | None
    since: datetime
    last_answer: str | None = Field(validation_alias="message")
    code: str | None
    attempts: int
    next_attempt_at: datetime | None
    scheduled_for: datetime | None


class RunView(BaseModel):
    """A run as every interface shows it."""

    run_id: UUID
    status: Status
    current_step: str | None
    artifacts: dict[str, Any]
    project: str
    brief: str
    options: dict[str, int]
    metadata: dict[str, str]
    image: str | None = Field(None, description="Digest of the image that the first clip of new ideas starts from.")
    created_at: datetime
    updated_at: datetime
    pruned_at: datetime | None = Field(None, description="Since when only its costs, orders and decisions are kept.")
    error: RunFailure | None
    cost: RunCost
    review: Review | None
    revision: int
    forked_from: UUID | None
    waiting: Waiting | None = Field(description="Null if the run has ended or waits only for a person.")
    needs_attention: bool = Field(description="Whether the same trouble has lasted for five minutes.")


def parse_run_id(text: str) -> UUID:
    """Return the run id that the text contains. Raises InvalidRequest if it is not a UUID."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest(f"{text[:80]!r} is not a run id.") from None


async def find_run_id(db: Database, text: str) -> UUID:
    """Return the id of the run whose id is this, or is the only one that starts with this.

    Raises InvalidRequest for a text that is no start of an id or starts several, and RunNotFound.
    """
    digits = text.strip().lower().replace("-", "")
    if not re.fullmatch(f"[0-9a-f]{{{MIN_PREFIX_CHARACTERS},32}}", digits):
        advice = f"Use a whole id, or at least its first {MIN_PREFIX_CHARACTERS} characters."
        raise InvalidRequest(f"{text[:80]!r} is not a run id. {advice}", field="run_id")
    first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    if first == last:
        return first
    found = await table.list_ids_between(db, first, last, limit=MAX_LISTED_MATCHES + 1)
    if not found:
        raise RunNotFound(f"No run has an id that starts with {text!r}.", run_id=text)
    if len(found) > 1:
        ids = ", ".join(map(str, found[:MAX_LISTED_MATCHES])) + (", …" if len(found) > MAX_LISTED_MATCHES else "")
        raise InvalidRequest(f"Several runs have an id that starts with {text!r}: {ids}.", field="run_id")
    return found[0]


async def get_run(db: Database, run_id: UUID) -> RunRow:
    """Return the row of the run. Raises RunNotFound."""
    return _found(await table.get_run(db, run_id), run_id)


async def get_kept_run(db: Database, run_id: UUID) -> RunRow:
    """Return the row of the run. Raises RunNotFound, or RunPruned if there is only the row."""
    run = await get_run(db, run_id)
    check_kept(run)
    return run


def check_kept(run: RunRow | RunView) -> None:
    """Raise RunPruned if there is only the row of the run."""
    if run.pruned_at:
        message = f"The run was pruned on {run.pruned_at:%Y-%m-%d}: its words and files are gone. Start a new run."
        raise RunPruned(message, pruned_at=run.pruned_at.isoformat())


async def get_run_view(db: Database, run_id: UUID, *, served_to: Actor | None = None) -> RunView:
    """Return the run, and record to which actor its open review is served. Raises RunNotFound."""
    return _view(_found(await table.get_run_in_full(db, run_id, served_to=served_to), run_id))


async def list_runs(db: Database, *, limit: int = 20, **which: Unpack[table.RunFilter]) -> list[RunView]:
    """Return up to `limit` of these runs as `get_run_view`, newest first."""
    return [_view(row) for row in await table.list_runs(db, limit=limit, **which)]


async def find_nodes(services: "Services", run_id: UUID) -> list[str]:
    """Return the nodes that the thread of the run is in; none if it has not begun, or has ended."""
    graph = services.run_graph.copy({"checkpointer": services.new_saver()})
    thread = await graph.aget_state({"configurable": {"thread_id": str(run_id)}})
    return list(dict.fromkeys(task.name for task in thread.tasks))


def open_review_of(row: RunRow) -> Review | None:
    """Return the review that the run has open, or None."""
    return Review.model_validate(row.review) if row.review else None


def no_open_review(status: str) -> GateNotOpen:
    """Return the error of a request that needs an open review, at whichever gate."""
    return GateNotOpen(f"The run has no open review: its status is {status}.", open_gate=None, last_decision=None)


def _found(row: Row | None, run_id: UUID) -> Row:
    if row is None:
        raise RunNotFound(f"Run {run_id} not found.", run_id=str(run_id))
    return row


def _view(row: RunInFull) -> RunView:
    costs = vars(row) | {"estimated_usd": row.artifacts.get("ideas", {}).get("estimated_usd")}
    waiting = row.waiting and row.waiting | {"name": troubles.name_of(row.waiting["subject"], row.current_step)}
    needs_attention = bool(waiting and waiting["needs_attention"])
    derived = {"run_id": row.id, "waiting": waiting, "needs_attention": needs_attention, "cost": costs}
    return RunView.model_validate(vars(row) | derived | {"image": row.image})
