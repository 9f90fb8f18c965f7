"""Migration of a database to the newest version of its two schemas: LangGraph's and the product's.

The table `schema_history` contains the applied files of the latter. In a database of version 0.2 it also names those of
a queue that nothing uses any more.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection, OperationalError, ProgrammingError
from psycopg.rows import dict_row

from storage.database import Connection, fetch_all, fetch_one

MIGRATIONS, OWNER = Path(__file__).parent / "migrations", "myloware"
MIGRATION_LOCK = 0x6D796C6F  # a 64-bit advisory lock; those of `locks.py` are hashes
LOCK_TIMEOUT_SECONDS = 300.0
LOCK_POLL_INTERVAL_SECONDS = 0.05
#: The first migration of version 0.1, which has other tables.
VERSION_0_1 = f"{OWNER}/0001_first.sql"


class DatabaseUnusable(Exception):
    """The database cannot be used; the message is one sentence."""


class DatabaseUnreachable(DatabaseUnusable):
    """The database cannot be reached or written now."""


async def check_database(dsn: str) -> None:
    """Raise DatabaseUnreachable, or DatabaseUnusable for a pooler that gives each transaction another session."""
    async with await _connect(dsn) as one, await _connect(dsn) as other:
        rounds = [[await _value(each, "select pg_backend_pid()") for each in (one, other)] for _ in range(3)]
        # Of two connections that are open at the same time each has a session of its own, and keeps it.
        if any(pids != rounds[0] or pids[0] == pids[1] for pids in rounds):
            raise DatabaseUnusable(
                "A pooler in transaction mode gives every transaction another session, and the locks need one: set"
                " MYLOWARE_DATABASE_DIRECT_URL to the address of the database itself."
            )
        if await _value(one, "select current_setting('transaction_read_only')::boolean"):
            raise DatabaseUnreachable("The database is read-only, as after a failover.")


async def migrate(dsn: str) -> list[str]:
    """Apply the missing migrations and return the names of the product's own. Concurrent callers apply each once.

    `dsn` must not be a pooler's. Raises DatabaseUnusable, and TimeoutError when another process migrates for more than
    five minutes.
    """
    # Here, because a command that finds its tables up to date does not need these packages.
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from langgraph.store.postgres.aio import AsyncPostgresStore

    await check_database(dsn)
    async with await _connect(dsn) as connection, asyncio.timeout(LOCK_TIMEOUT_SECONDS):
        # Polls and never waits inside Postgres: a session that waits for a lock is a transaction that LangGraph's
        # CREATE INDEX CONCURRENTLY waits for in turn.
        while not await _value(connection, "select pg_try_advisory_lock(%s)", MIGRATION_LOCK):  # noqa: ASYNC110
            await asyncio.sleep(LOCK_POLL_INTERVAL_SECONDS)
        await _applied(connection)
        await AsyncPostgresSaver(connection).setup()
        await AsyncPostgresStore(connection).setup()
        return await _apply_migrations(connection)


async def is_migrated(dsn: str) -> bool:
    """Return whether the product's own schema is up to date. Writes nothing. Raises DatabaseUnusable."""
    async with await _connect(dsn) as connection:
        return newest_schema() <= await _applied(connection)


def newest_schema() -> set[str]:
    """Return the names that `schema_history` contains when the product's own schema is up to date."""
    return {f"{OWNER}/{path.name}" for path in MIGRATIONS.glob("*.sql")}


def unknown_migrations(names: Iterable[str]) -> list[str]:
    """Return the names in a `schema_history` that are of a newer version of the product, in order."""
    return sorted({name for name in names if name.startswith(f"{OWNER}/")} - newest_schema())


async def _connect(dsn: str) -> Connection:
    try:
        return await AsyncConnection.connect(
            dsn, autocommit=True, row_factory=dict_row, connect_timeout=10, prepare_threshold=None
        )
    except OperationalError as error:
        raise DatabaseUnreachable(f"The database cannot be reached: {str(error).splitlines()[0]}.") from error
    except ProgrammingError as error:
        # The driver's own message repeats parts of the address, which contains a password.
        raise DatabaseUnusable("That is not the address of a Postgres database.") from error


async def _applied(connection: Connection) -> set[str]:
    """Return the names in `schema_history`. Raises DatabaseUnusable for one of version 0.1 or of a newer version."""
    if await _value(connection, "select to_regclass('schema_history') is null"):
        return set()
    names = {row["name"] for row in await fetch_all(connection, "select name from schema_history")}
    if VERSION_0_1 in names:
        raise DatabaseUnusable(
            "The database was created by MyloWare 0.1, which this version cannot read. "
            "Finish its open runs with 0.1, or use another database or data folder."
        )
    if newer := unknown_migrations(names):
        advice = "Use that version, or restore a backup from before it into an empty database."
        raise DatabaseUnusable(f"A newer version of MyloWare has changed the database ({newer[0]}). {advice}")
    return names


async def _apply_migrations(connection: Connection) -> list[str]:
    """Apply the new files in the order of their names, each in one transaction with its entry in the history."""
    await connection.execute(
        "create table if not exists schema_history "
        "(name text primary key, applied_at timestamptz not null default now())"
    )
    new = sorted(newest_schema() - await _applied(connection))
    for name in new:
        async with connection.transaction():
            await connection.execute((MIGRATIONS / name.partition("/")[2]).read_bytes())
            await connection.execute("insert into schema_history (name) values (%s)", (name,))
    return new


async def _value(connection: Connection, sql: Any, *params: object) -> Any:
    row = await fetch_one(connection, sql, params)
    return None if row is None else next(iter(row.values()))
