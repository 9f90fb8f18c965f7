"""Brings a database to the newest form of its three schemas: LangGraph's, Procrastinate's and ours."""

from __future__ import annotations

import asyncio
import importlib.resources
from pathlib import Path
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection, OperationalError, ProgrammingError
from psycopg.rows import DictRow, dict_row

MIGRATIONS, OWNER = Path(__file__).parent / "migrations", "myloware"
LOCK = 0x6D796C6F  # a 64-bit advisory key; those of `locks.py` are hashes and never this by intent
PATIENCE = 300.0
TICK = 0.05


class DatabaseUnusable(Exception):
    """There is no database to speak with; the message is one sentence."""


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing and return its names. Any number of processes may call it at once.

    Raises DatabaseUnusable, and TimeoutError when another process migrates for more than five minutes.
    """
    async with await _connected(dsn) as connection, asyncio.timeout(PATIENCE):
        # Asking again and again, never waiting inside Postgres: a session that waits for a lock is a
        # transaction that LangGraph's CREATE INDEX CONCURRENTLY waits for in turn.
        while not await _value(connection, "select pg_try_advisory_lock(%s)", LOCK):  # noqa: ASYNC110
            await asyncio.sleep(TICK)
        return await _langgraph(connection) + await _procrastinate(connection) + await _ours(connection)


async def is_migrated(dsn: str) -> bool:
    """Whether the database has all of our own tables in their newest form. Writes nothing. Raises DatabaseUnusable."""
    async with await _connected(dsn) as connection:
        if await _value(connection, "select to_regclass('schema_history') is null"):
            return False
        rows = await (await connection.execute("select name from schema_history")).fetchall()
        return {f"{OWNER}/{path.name}" for path in MIGRATIONS.glob("*.sql")} <= {row["name"] for row in rows}


async def _connected(dsn: str) -> AsyncConnection[DictRow]:
    try:
        return await AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row, connect_timeout=10)
    except OperationalError as error:
        raise DatabaseUnusable(f"The database cannot be reached: {str(error).splitlines()[0]}.") from error
    except ProgrammingError as error:
        # What the driver says of it repeats parts of the address, and a password stands there.
        raise DatabaseUnusable("That is not the address of a Postgres database.") from error


async def _langgraph(connection: AsyncConnection[DictRow]) -> list[str]:
    before = await _langgraph_version(connection)
    await AsyncPostgresSaver(connection).setup()
    after = await _langgraph_version(connection)
    return [f"langgraph/{version}" for version in range(before + 1, after + 1)]


async def _langgraph_version(connection: AsyncConnection[DictRow]) -> int:
    if await _value(connection, "select to_regclass('checkpoint_migrations') is null"):
        return -1
    return int(await _value(connection, "select coalesce(max(v), -1) from checkpoint_migrations"))


async def _procrastinate(connection: AsyncConnection[DictRow]) -> list[str]:
    folder = importlib.resources.files("procrastinate.sql") / "migrations"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(".sql")}
    if not await _value(connection, "select to_regclass('procrastinate_jobs') is null"):
        return await _apply(connection, "procrastinate", files)
    # A new database gets the newest form at once; the steps that led there count as taken.
    schema = {"schema.sql": SchemaManager.get_schema().encode()}
    return await _apply(connection, "procrastinate", schema, counts_for=files)


async def _ours(connection: AsyncConnection[DictRow]) -> list[str]:
    return await _apply(connection, OWNER, {path.name: path.read_bytes() for path in MIGRATIONS.glob("*.sql")})


async def _apply(
    connection: AsyncConnection[DictRow],
    owner: str,
    files: dict[str, bytes],
    *,
    counts_for: dict[str, bytes] | None = None,
) -> list[str]:
    """Run the files that were not run yet, by name, each in a transaction with the note that it was."""
    await connection.execute(
        "create table if not exists schema_history "
        "(name text primary key, applied_at timestamptz not null default now())"
    )
    rows = await (await connection.execute("select name from schema_history")).fetchall()
    done = {row["name"] for row in rows}
    applied = []
    for file in sorted(files):
        name = f"{owner}/{file}"
        if name in done:
            continue
        async with connection.transaction():
            await connection.execute(files[file])
            for noted in {name, *(f"{owner}/{other}" for other in counts_for or ())}:
                await connection.execute("insert into schema_history (name) values (%s)", (noted,))
        applied.append(name)
    return applied


async def _value(connection: AsyncConnection[DictRow], sql: Any, *params: object) -> Any:
    row = await (await connection.execute(sql, params or None)).fetchone()
    return None if row is None else next(iter(row.values()))
