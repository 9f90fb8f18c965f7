"""Move a run as far as its thread and its rows allow. Any process may call `advance`, any number of times."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.types import Command, StateSnapshot

from graph.decisions import DecisionInput, RecordedDecision
from graph.state import RunInput, RunState
from graph.status import STEP_OF_NODE, TERMINAL_STATUSES
from providers.base import ProviderError, Unavailable
from providers.orders import OrderKey
from runs.decide import decide
from runs.errors import RunError
from runs.projections import fail, retry_later, save_end, save_waiting
from runs.services import RunGraph, Services
from storage import decisions, runs as table
from storage.actors import Actor, RequestContext
from storage.database import DatabaseError
from storage.locks import LockBusy, LockLost
from storage.runs import RunRow

log = logging.getLogger(__name__)

#: Supersteps in one drive, and drives in one call: both far above what a run needs, so that a loop ends.
RECURSION_LIMIT = 60
MAX_DRIVES = 40
#: How long a call waits for the lock of a run that another call drives; the sweeper retries after that.
LOCK_WAIT_SECONDS = 1.0
LOCK_POLL_INTERVAL_SECONDS = 0.05
UPGRADE_ACTOR = Actor("upgrade", "upgrade", "upgrade: films are signed", frozenset({"approve"}))
UPGRADE = RequestContext(UPGRADE_ACTOR, "upgrade", idempotency_key="signature")  # one for each run
INTERNAL_ERROR = Unavailable("internal_error", "Internal error. The details are in the server log.")


async def advance(services: Services, run_id: str) -> None:
    """Drive the run until it waits or ends, unless another process is driving it.

    Has no effect for an unknown run. Raises only errors that a later call may not meet: DatabaseError (the database
    is unavailable, or another process became the driver) and LockLost.
    """
    for _ in range(round(LOCK_WAIT_SECONDS / LOCK_POLL_INTERVAL_SECONDS)):
        try:
            async with services.locks.hold(f"run:{run_id}"):
                await _drive(services, run_id)
            return
        except LockBusy:
            # The current driver may be about to stop without having seen the event behind this call.
            await asyncio.sleep(LOCK_POLL_INTERVAL_SECONDS)
    log.debug("run %s is driven by another process", run_id)


async def _drive(services: Services, run_id: str) -> None:
    # A checkpointer for each drive: one checkpointer serialises its callers.
    graph = services.run_graph.copy({"checkpointer": services.new_saver()})
    config: RunnableConfig = {
        "configurable": {"thread_id": run_id, "__pregel_strict_resume": True},
        "recursion_limit": RECURSION_LIMIT,
    }
    run = await table.claim(services.db, run_id)
    for _ in range(MAX_DRIVES):
        if run is None or services.drain.drain_requested:
            return
        if run.status in TERMINAL_STATUSES:
            await table.clear_wakeup(services.db, run_id)
            return
        if not await _continue(services, run, graph, config):
            return
        run = await table.get_run(services.db, run_id)
    raise RuntimeError(f"run {run_id} did not stop within {MAX_DRIVES} drives")


async def _continue(services: Services, run: RunRow, graph: RunGraph, config: RunnableConfig) -> bool:
    """Take the next step of the run. Return whether there may be another one now."""
    snapshot = await graph.aget_state(config)
    if snapshot.created_at is None:
        return await _run(services, run, graph, config, RunInput(project=run.project, brief=run.brief))
    if snapshot.interrupts:
        interrupt = snapshot.interrupts[0]
        answer = await _answer(services, run.id, interrupt.value)
        if answer is None:
            may_continue = await _wait(services, run, snapshot, interrupt.value)
            return may_continue or await _request_signature(services, run.id, interrupt.value)
        # Resumed by id only: the answer to one interrupt must never reach another.
        return await _run(services, run, graph, config, Command(resume={interrupt.id: answer}))
    # `snapshot.next` is unreliable: after a crash it can be empty although tasks are left.
    if snapshot.tasks:
        return await _run(services, run, graph, config, None)
    await save_end(services.ledger, run, cast("RunState", snapshot.values))
    return False


async def _wait(services: Services, run: RunRow, snapshot: StateSnapshot, payload: dict[str, Any]) -> bool:
    """Save that the thread waits for the answer to its interrupt. Return whether the answer may be there now."""
    node = next(task.name for task in snapshot.tasks if task.interrupts)
    state, checkpoint = cast("RunState", snapshot.values), snapshot.config["configurable"]["checkpoint_id"]
    is_saved = await save_waiting(services.ledger, run, state, node, payload, checkpoint)
    for key in payload.get("orders", []):
        # A clip is announced by its webhook, or polled later. A render begins with its first poll.
        if OrderKey.parse(key).kind != "clip":
            services.wakeups.reconcile(key)
    # The event may have happened after the thread was read, and the saved wake-up time replaced an earlier one.
    return not is_saved or await _answer(services, run.id, payload) is not None


async def _request_signature(services: Services, run_id: UUID, payload: dict[str, Any]) -> bool:
    """Request another render, which signs the film, if an earlier version left it unsigned at an open publish gate.

    The request is a decision about the review, in the same takes: no model reads it, nothing is charged, and the gate
    opens again with the new film. Return whether it was recorded now.
    """
    if not services.signs_films or payload.get("gate") != "publish" or "c2pa" in payload["content"]["film"]:
        return False
    takes = {clip["clip"]: clip["take"] for clip in payload["content"]["clips"]}
    decision = DecisionInput(verdict="revise", takes=takes, digest=payload["digest"])
    with suppress(RunError):  # a person decided first
        return bool((await decide(services, run_id, "publish", decision, UPGRADE)).revision == payload["revision"])
    return False


async def _answer(services: Services, run_id: UUID, payload: dict[str, Any]) -> dict[str, Any] | None:
    """Return the value that resumes the interrupt, or None if there is none."""
    if "orders" in payload:
        keys: list[str] = payload["orders"]
        statuses = await services.ledger.statuses(keys)
        return {"orders": keys} if all(key in statuses and statuses[key].is_terminal for key in keys) else None
    for row in await decisions.list_decisions(services.db, run_id):
        if (row.gate, row.revision, row.seen_digest) == (payload["gate"], payload["revision"], payload["digest"]):
            values = vars(row)
            return {name: values[name] for name in RecordedDecision.model_fields if values[name] is not None}
    return None


async def _run(services: Services, run: RunRow, graph: RunGraph, config: RunnableConfig, graph_input: Any) -> bool:
    """Run the thread until it stops. Return whether the run may continue now."""
    current_step = run.current_step
    try:
        chunks = graph.astream(graph_input, config, stream_mode="tasks", durability="sync", control=services.drain)
        async for chunk in chunks:
            started = STEP_OF_NODE.get(chunk["name"]) if "triggers" in chunk else None
            if started and started != current_step:
                current_step = started
                await table.record_step(services.db, run.id, started)
    except GraphDrained:
        return False
    except Unavailable as error:
        await retry_later(services.ledger, run, current_step, error)
        return False
    except ProviderError as error:
        await fail(services.ledger, run, current_step, error.code, error.message)
        return False
    except (DatabaseError, LockLost):
        raise
    except Exception:
        # A defect may occur at every attempt: after the last one the run fails, and can be retried after a fix.
        log.exception("run %s: unexpected error in %s", run.id, current_step)
        await retry_later(services.ledger, run, current_step, INTERNAL_ERROR)
        return False
    return True
