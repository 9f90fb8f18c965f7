"""Remove the words and files of ended runs. What guards against a second payment or publication stays."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from storage.chat_sessions import thread_id_of
from storage.database import Database, fetch_all, fetch_one, read_statements
from storage.decisions import prune_decisions

#: The stored response to a request whose own one was removed. The request is not executed again.
GONE = {
    "error": {
        "code": "response_pruned",
        "message": "The request was executed; its response was pruned. It is not executed again.",
        "details": {},
    }
}

sql = read_statements("pruning")


@dataclass(frozen=True)
class FileCount:
    """Files, and their size together."""

    files: int
    bytes: int


async def list_due(db: Database, keep: timedelta) -> list[UUID]:
    """Return the runs that ended longer ago than `keep` and can be pruned, oldest first."""
    return [row["id"] for row in await db.fetch_all(sql["due"], {"keep": keep})]


async def prune_run(db: Database, run_id: UUID, actor_id: str) -> list[str] | None:
    """Remove the words of a run, its thread and events, in one transaction. Return the digests of the files it used.

    Return None if the run cannot be pruned: it has not ended for good, or was pruned. Raises ValueError if one of its
    decisions was changed after it was recorded.
    """
    async with db.transaction() as conn:
        if not await fetch_one(conn, sql["lock"], (run_id,)):
            return None
        at = await prune_decisions(conn, run_id, actor_id)
        await conn.execute(sql["strip_orders"], (run_id,))
        await conn.execute(sql["strip_requests"], (run_id,))
        used = await fetch_all(conn, sql["strip_run"], {"id": run_id, "at": at, "gone": GONE})
    return [row["digest"] for row in used]


async def strip_responses(db: Database, keep: timedelta) -> None:
    """Remove the words of stored responses that are older than `keep`."""
    await db.execute(sql["strip_responses"], {"keep": keep, "gone": GONE})


async def list_idle_sessions(db: Database, keep: timedelta) -> list[str]:
    """Return the ids of the chat sessions whose last message is older than `keep`."""
    ids = {thread_id_of(row["id"]): row["id"] for row in await db.fetch_all("select id from chat_sessions")}
    idle = await db.fetch_all(sql["idle_threads"], {"threads": list(ids), "keep": keep})
    return [ids[row["thread_id"]] for row in idle]


async def delete_conversation(db: Database, session_id: str, keep: timedelta) -> bool:
    """Delete the messages of an idle chat session. Its owner stays, and no other actor gets its id.

    Return False if it was used since. Hold the lock of the session for the call.
    """
    return await db.execute(sql["delete_thread"], {"threads": [thread_id_of(session_id)], "keep": keep}) > 0


async def count_files(db: Database, keep: timedelta, runs: Collection[UUID]) -> FileCount:
    """Return the files that nothing would need if these runs were pruned."""
    values = {"keep": keep, "runs": list(runs), "digests": None}
    [count] = await db.fetch_all(sql["count_files"], values, row=FileCount)
    return count


async def release_files(db: Database, keep: timedelta, *, only: Collection[str] | None = None) -> FileCount:
    """Delete the rows of files that nothing needs, with `only` of these, and list the files for their deletion."""
    if only is None:
        await db.execute(sql["drop_superseded"])
    values = {"keep": keep, "digests": None if only is None else list(only)}
    released = await db.change(sql["release_files"], values, row=FileCount)
    return released or FileCount(0, 0)


async def claim_daily(db: Database, name: str) -> bool:
    """Return whether this process does the daily work of this name now: once a day one of the workers does."""
    return await db.execute(sql["claim_daily"], (name,)) == 1
