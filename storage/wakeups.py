"""Wake-ups between processes: runs become due now, and every worker is notified. The due rows are the queue."""

from collections.abc import Awaitable, Callable, Collection

from psycopg import AsyncConnection

from storage.database import Database, read_statements

#: Shared by the sessions of all workers while they listen: `/ready` looks for it.
WORKER_LOCK = 0x6D796C70

sql = read_statements("wakeups")


async def make_due(db: Database, run_ids: Collection[str]) -> None:
    """Make these runs due, if there are any, and notify the workers: orders are due already."""
    await db.execute(sql["make_due"], (list(run_ids),))


async def count_workers(db: Database) -> int:
    """Return the number of workers that listen now."""
    row = await db.fetch_one(sql["count_workers"], {"worker_lock": WORKER_LOCK})
    return int(row["workers"]) if row else 0


async def listen(session_url: str, name: str, notified: Callable[[], Awaitable[object]]) -> None:
    """Call `notified` at once, and for every notification, until the session is lost. Raises DatabaseError then.

    The session bears the name of the process, so that it ends with the locks of a process that is frozen.
    """
    connecting = AsyncConnection.connect(session_url, autocommit=True, application_name=name, connect_timeout=10)
    async with await connecting as connection:
        await connection.execute("select pg_advisory_lock_shared(%s)", (WORKER_LOCK,))
        await connection.execute("listen wakeups")
        await notified()
        async for _ in connection.notifies():
            await notified()
