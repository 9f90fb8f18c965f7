"""The connections to the database, and the few verbs our SQL is spoken with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

from psycopg import AsyncConnection, Error, OperationalError
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from storage.failpoints import hit

Connection = AsyncConnection[DictRow]
Pool = AsyncConnectionPool[Connection]
Params = Sequence[Any] | Mapping[str, Any]
#: What everything here raises while the database cannot be reached.
DatabaseUnavailable = OperationalError
#: Whatever a database may answer beside a result; that it is away is one of them.
DatabaseError = Error
#: How long to wait for a connection, in seconds: a restart of the database is not noticed, an outage is told soon.
POOL_TIMEOUT_SECONDS = 10.0
#: After so many seconds an attempt to connect begins anew: otherwise each pause is twice as long as the last one, and
#: a database that is back would be left alone for as long as it was away.
RECONNECT_TIMEOUT_SECONDS = 15.0


def open_pool(
    dsn: str, *, min_size: int = 1, max_size: int = 10, name: str = "myloware", read_only: bool = False
) -> Pool:
    """A pool to be entered with `async with`; it serves our SQL, AsyncPostgresSaver and Procrastinate alike.

    `name` is that of the process: its sessions are known, and cut off, by it (see `locks.py`). Where it is
    `read_only` the server itself refuses whatever would write.
    Connections commit by themselves and give rows as dicts. One that died is replaced when it is asked for.
    """

    async def configure(connection: Connection) -> None:
        # Not among the keywords: Procrastinate passes those on beside an `autocommit` of its own.
        await connection.set_autocommit(True)
        if read_only:
            await connection.execute("set default_transaction_read_only = on")

    async def check(connection: Connection) -> None:
        try:
            await AsyncConnectionPool.check_connection(connection)
        except OperationalError:
            # Where one is dead, others are: replace them all now. Left alone, the pool would come upon them
            # one by one, waiting 1, 2, 4, … seconds after each.
            await pool.check()
            raise

    pool: Pool = AsyncConnectionPool(
        dsn,
        min_size=min_size,
        max_size=max_size,
        timeout=POOL_TIMEOUT_SECONDS,
        reconnect_timeout=RECONNECT_TIMEOUT_SECONDS,
        open=False,
        kwargs={"row_factory": dict_row, "prepare_threshold": 0, "connect_timeout": 10, "application_name": name},
        configure=configure,
        check=check,
    )
    return pool


class Database:
    """Our SQL over one pool. Statements are committed one by one, except inside `transaction`."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def fetch_all(self, sql: LiteralString, params: Params = ()) -> list[DictRow]:
        """Every row of the answer."""
        async with self.pool.connection() as connection:
            return await (await connection.execute(sql, params or None)).fetchall()

    async def fetch_one(self, sql: LiteralString, params: Params = ()) -> DictRow | None:
        """The first row of the answer, or None."""
        async with self.pool.connection() as connection:
            return await (await connection.execute(sql, params or None)).fetchone()

    async def execute(self, sql: LiteralString, params: Params = ()) -> int:
        """How many rows were touched."""
        async with self.pool.connection() as connection:
            hit("commit.before")
            touched = (await connection.execute(sql, params or None)).rowcount
        hit("commit.after")
        return touched

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection whose statements are kept together, or not at all when the block raises."""
        async with self.pool.connection() as connection:
            async with connection.transaction():
                yield connection
                hit("commit.before")
            hit("commit.after")
