"""Prune ended runs: by age, once a day or by command, or one of them on request."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from graph.status import TERMINAL_STATUSES
from runs.errors import RunNotEnded
from runs.queries import get_run
from runs.services import Services
from storage import pruning
from storage.locks import LockBusy
from storage.pruning import FileCount

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pruned:
    """The runs and chat sessions that were pruned, and the files that were deleted."""

    runs: int
    chats: int
    files: int
    bytes: int


async def prune(services: Services, keep: timedelta, actor_id: str, *, dry_run: bool = False) -> Pruned:
    """Prune the runs that ended, and the chat sessions that were last used, longer ago than `keep`.

    Films of ended runs that a later render replaced are deleted too. Each run is a transaction, and a file is deleted
    after the transaction that released it: what an interrupted call leaves, the next one does. With `dry_run` nothing
    is changed. Raises Unavailable for the store.
    """
    db = services.db
    due, idle = await pruning.list_due(db, keep), await pruning.list_idle_sessions(db, keep)
    if dry_run:
        return Pruned(len(due), len(idle), **vars(await pruning.count_files(db, keep, due)))
    pruned = [run_id for run_id in due if await _prune_run(services, run_id, actor_id) is not None]
    chats = [session_id for session_id in idle if await _delete_conversation(services, session_id, keep)]
    await pruning.strip_responses(db, keep)
    released = await pruning.release_files(db, keep)
    await services.artifacts.delete_released()
    return Pruned(len(pruned), len(chats), **vars(released))


async def delete_run(services: Services, run_id: UUID, actor_id: str) -> FileCount:
    """Prune one run that has ended, whatever its age, and return the files that were deleted.

    A run that was pruned stays as it is. Raises RunNotFound or RunNotEnded, and Unavailable for the store.
    """
    run = await get_run(services.db, run_id)
    if run.status not in TERMINAL_STATUSES:
        raise RunNotEnded(f"The run has not ended: its status is {run.status}. Cancel it first.", status=run.status)
    used = await _prune_run(services, run_id, actor_id) if run.pruned_at is None else []
    if used is None:
        raise RunNotEnded(
            "The run is still needed: an order has no known outcome, a notification is not sent, a run that was forked"
            " from it goes on, or the audit log has a fault.",
            status=run.status,
        )
    released = await pruning.release_files(services.db, timedelta(), only=used)
    await services.artifacts.delete_released()
    return released


async def _prune_run(services: Services, run_id: UUID, actor_id: str) -> list[str] | None:
    """Return the digests of the files that the run used, or None if it cannot be pruned now."""
    try:
        return await pruning.prune_run(services.db, run_id, actor_id)
    except ValueError as error:
        log.error("run %s is not pruned: %s", run_id, error)
        return None


async def _delete_conversation(services: Services, session_id: str, keep: timedelta) -> bool:
    """Delete the messages of an idle chat session, unless a turn of it is in progress."""
    try:
        async with services.locks.hold(f"chat:{session_id}"):
            return await pruning.delete_conversation(services.db, session_id, keep)
    except LockBusy:
        return False
