"""Move a run as far as the facts allow.

`advance` looks at the thread and at the rows, and remembers nothing: it may be called at any time, any number of
times, by any process. Calling it is never wrong, only sometimes useless.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from graph.nodes.orders import StepFailed
from graph.state import RunFacts, RunState
from graph.status import STATUS_OF_WAITING_NODE, STEP_OF_NODE, TERMINAL_STATUSES
from providers.base import ProviderError, Unavailable
from runs.artifacts import artifacts_of, lookup_url
from runs.services import Services
from storage import decisions
from storage import runs as table
from storage.database import DatabaseError
from storage.locks import LockBusy, LockLost
from storage.runs import RunRow

log = logging.getLogger(__name__)

#: Supersteps in one drive, and drives in one call: both far above what any run takes, so that a circle ends.
RECURSION_LIMIT = 60
DRIVES = 40
#: How often a step that met somebody unavailable is tried before a person is asked, and how long it waits at most.
ATTEMPTS = 7
LONGEST_WAIT = timedelta(seconds=30)
#: How long a call waits for the one who drives the run to rest, in seconds; the sweeper comes after that.
PATIENCE, TICK = 1.0, 0.05
#: A run that waits for orders is looked at this often even if nobody says anything.
LOOK_AT_WAITING = timedelta(seconds=30)
BROKEN = Unavailable("internal_error", "Something broke inside; it was written to the log.")


@dataclass(frozen=True)
class Waiting:
    """The thread waits in `node`; `question` is what it asks there."""

    node: str
    question: dict[str, Any]


@dataclass(frozen=True)
class Drive:
    """The thread can go on, from this input (None: from its checkpoint)."""

    step: Any


@dataclass(frozen=True)
class Over:
    """The thread is at its end."""


async def advance(services: Services, run_id: str) -> None:
    """Drive the run until it waits or ends, unless somebody else does and goes on doing so.

    Does nothing for a run that does not exist. Raises only what a later call may not meet: an error of the database
    (it is away, or another process drives the run by now) and a lock that was lost.
    """
    for _ in range(round(PATIENCE / TICK)):
        try:
            async with services.locks.hold(f"run:{run_id}"):
                await _drive(services, run_id)
            return
        except LockBusy:
            # Whoever drives it may be about to rest, and not know what this call was made for.
            await asyncio.sleep(TICK)
    log.debug("run %s is driven by somebody else", run_id)


async def _drive(services: Services, run_id: str) -> None:
    # A checkpointer of its own for each drive: one serialises everybody who shares it.
    graph = services.run_graph.compile(checkpointer=services.new_saver(), name="line")
    config: RunnableConfig = {
        "configurable": {"thread_id": run_id, "__pregel_strict_resume": True},
        "recursion_limit": RECURSION_LIMIT,
    }
    if await table.claim(services.db, run_id) is None:
        return
    for _ in range(DRIVES):
        run = await table.get_run(services.db, run_id)
        if run is None or services.draining.drain_requested:
            return
        if run["status"] in TERMINAL_STATUSES:
            await table.clear_wakeup(services.db, run_id)
            return
        snapshot = await graph.aget_state(config)
        match await _next(services, run, snapshot):
            case Drive(step):
                if not await _run(services, run, graph, config, step):
                    return
            case Waiting() as waiting:
                if await _rest(services, run, snapshot, waiting):
                    return
            case Over():
                await _end(services, run, snapshot)
                return
    raise RuntimeError(f"run {run_id} goes in circles")


async def _next(services: Services, run: RunRow, snapshot: StateSnapshot) -> Drive | Waiting | Over:
    """What the thread and the rows say comes next."""
    if snapshot.created_at is None:
        facts = RunFacts(id=str(run["id"]), project=run["project"], brief=run["brief"], options=run["options"])
        return Drive({"run": facts, **run["seed"]})
    if snapshot.interrupts:
        interrupt = snapshot.interrupts[0]
        node = next(task.name for task in snapshot.tasks if task.interrupts)
        answer = await _answer(services, run["id"], interrupt.value)
        # By its id only: an answer to one question must never be taken for the answer to another.
        return Waiting(node, interrupt.value) if answer is None else Drive(Command(resume={interrupt.id: answer}))
    # `snapshot.next` is no guide: after a crash it may be empty though work is left.
    return Drive(None) if snapshot.tasks else Over()


async def _answer(services: Services, run_id: UUID, question: dict[str, Any]) -> Any:
    """What the rows say to the thread's question; None if nothing yet."""
    if "waiting_for" in question:
        standing = await services.ledger.statuses(question["orders"])
        over = [key for key in question["orders"] if key in standing and standing[key].is_terminal]
        return {"over": over} if len(over) == len(question["orders"]) else None
    for row in await decisions.list_decisions(services.db, run_id):
        if (row["gate"], row["revision"], row["seen_digest"]) == tuple(
            question[key] for key in ("gate", "revision", "digest")
        ):
            return {
                "verdict": row["verdict"],
                "comment": row["comment"] or "",
                "edits": row["edits"],
                "clips": row["clips"] or [],
                "takes": row["takes"] or {},
                "number": row["number"],
            }
    return None


async def _run(
    services: Services, run: RunRow, graph: CompiledStateGraph[RunState], config: RunnableConfig, step: Any
) -> bool:
    """Run the thread until it stops; False if it must not go on now."""
    at = run["current_step"]
    try:
        async for chunk in graph.astream(
            step, config, stream_mode="tasks", durability="sync", control=services.draining
        ):
            began = STEP_OF_NODE.get(chunk["name"]) if "triggers" in chunk else None
            if began and began != at:
                at = began
                await table.record_step(services.db, run["id"], began)
    except GraphDrained:
        return False
    except Unavailable as error:
        await _wait_out(services, run, at, error)
        return False
    except (StepFailed, ProviderError) as error:
        await _fail(services, run, at, error.code, error.message)
        return False
    except (DatabaseError, LockLost):
        raise
    except Exception:
        # It may be met again each time: a person is told in the end, and may let the run go on once it is mended.
        log.exception("run %s broke in %s", run["id"], at)
        await _wait_out(services, run, at, BROKEN)
        return False
    return True


async def _rest(services: Services, run: RunRow, snapshot: StateSnapshot, waiting: Waiting) -> bool:
    """Write where the thread waits; False if what it waits for has happened meanwhile."""
    question, opened = waiting.question, None
    review = None
    if "gate" in question:
        review = {key: question[key] for key in ("gate", "revision", "digest", "content")}
        if run["review"] is None or run["review"]["revision"] != review["revision"]:
            opened = ("review.opened", review)
    told = await table.save_projection(
        services.db,
        run["id"],
        status=STATUS_OF_WAITING_NODE[waiting.node],
        current_step=STEP_OF_NODE[waiting.node],
        revision=question.get("revision", run["revision"]),
        review=review,
        artifacts=await artifacts_of(services, run["id"], snapshot.values),
        look_in=None if review else LOOK_AT_WAITING,
        event=opened or _told(run, STATUS_OF_WAITING_NODE[waiting.node]),
    )
    # An order that was settled since the thread was read asked for a look at once, and `look_in` has just put it off.
    return told and await _answer(services, run["id"], question) is None


def _told(run: RunRow, status: str) -> tuple[str, dict[str, Any]] | None:
    return None if run["status"] == status else ("status.changed", {"status": status})


async def _end(services: Services, run: RunRow, snapshot: StateSnapshot) -> None:
    failure = snapshot.values.get("failure")
    kind = "run.failed" if failure else "run.completed"
    await table.save_projection(
        services.db,
        run["id"],
        status="failed" if failure else "completed",
        current_step=None,
        revision=run["revision"],
        review=None,
        artifacts=await artifacts_of(services, run["id"], snapshot.values),
        error={**failure, "retryable": False} if failure else None,
        event=(kind, dict(failure or {})),
    )


async def _wait_out(services: Services, run: RunRow, step: str | None, error: Unavailable) -> None:
    """Somebody is away: come back later, for a while."""
    attempts = run["attempts"] + 1
    log.info("run %s: %s (%s), attempt %d", run["id"], error.message, error.code, attempts)
    if attempts >= ATTEMPTS:
        await _fail(services, run, step, error.code, error.message)
        return
    await table.save_projection(
        services.db,
        run["id"],
        status="running",
        current_step=step,
        revision=run["revision"],
        review=None,
        artifacts=run["artifacts"],
        attempts=attempts,
        look_in=min(timedelta(seconds=2 ** (attempts - 1)), LONGEST_WAIT),
    )


async def _fail(services: Services, run: RunRow, step: str | None, code: str, message: str) -> None:
    """The step cannot go on by itself: say so, and leave the thread where `retry` finds it."""
    log.warning("run %s failed in %s: %s (%s)", run["id"], step, message, code)
    error: dict[str, Any] = {"code": code, "message": message, "retryable": True}
    orders = await services.ledger.list_for_run(run["id"])
    if unknown := [lookup_url(services, order) for order in orders if order["state"] == "unknown"]:
        error["unknown_orders"] = unknown
    await table.save_projection(
        services.db,
        run["id"],
        status="failed",
        current_step=step,
        revision=run["revision"],
        review=None,
        artifacts=await artifacts_of(services, run["id"], {}, run["artifacts"]),
        error=error,
        event=("run.failed", {"code": code, "message": message}),
    )
