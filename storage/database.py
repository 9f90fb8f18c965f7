"""The connection pool, and the statements that run on it: those of a module are in its file in the folder `sql`."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString, TypeAlias
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, AsyncCursor, Error, OperationalError
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import DictRow, class_row, dict_row
from psycopg.sql import SQL, Composable, Composed, Identifier, Placeholder
from psycopg.types.json import JsonbDumper
from psycopg_pool import AsyncConnectionPool
from typing_extensions import TypeVar

from storage.failpoints import hit

FOLDER = Path(__file__).with_name("sql")
T = TypeVar("T", default=DictRow)

Connection = AsyncConnection[DictRow]
Statement: TypeAlias = LiteralString | Composed
Params = Sequence[Any] | Mapping[str, Any]
#: Raised by every function of this package while the database cannot be reached, or only be read after a failover.
DATABASE_UNAVAILABLE = (OperationalError, ReadOnlySqlTransaction)
#: Raised for every error of the database, DATABASE_UNAVAILABLE included.
DatabaseError = Error
#: How long to wait for a connection: longer than a restart of the database, short enough to report an outage.
POOL_TIMEOUT_SECONDS = 10.0
#: After so many seconds the backoff of reconnecting starts again. The pool doubles the pause after each attempt, so
#: without this limit a restored database would stay unused for as long as it was unavailable.
RECONNECT_TIMEOUT_SECONDS = 15.0

#: A connection that was used so recently is not checked before its next use.
TRUSTED_SECONDS = 2.0
_returned_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()


class Pool(AsyncConnectionPool[Connection]):
    """A pool that loses no cancellation: `asyncio.wait_for` of Python 3.11 drops one that arrives with a connection."""

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109
        """Return a connection within `timeout` seconds. Raises PoolTimeout."""
        task = asyncio.current_task()
        cancellations = task.cancelling() if task else 0
        connection = await super().getconn(timeout)
        if task and task.cancelling() > cancellations:
            await self.putconn(connection)
            raise asyncio.CancelledError
        return connection

    async def putconn(self, conn: Connection) -> None:
        """Return a connection. A `reset` function, which could note the time, would make each return a task."""
        _returned_at[conn] = time.monotonic()
        await super().putconn(conn)


def open_pool(
    dsn: str,
    *,
    min_size: int = 1,
    max_size: int = 10,
    name: str = "myloware",
    read_only: bool = False,
    prepare: bool = True,
) -> Pool:
    """Return a pool to enter with `async with`; SQL and AsyncPostgresSaver share it.

    Connections autocommit, return rows as dicts and store dicts as JSON. A dead connection is replaced when it is
    requested. `name` is the application_name of the sessions, by which `locks.py` finds and ends them. With `read_only`
    the server refuses every write; `prepare` prepares statements, which a pooler in transaction mode does not support.
    """

    async def configure(connection: Connection) -> None:
        connection.adapters.register_dumper(dict, JsonbDumper)
        if read_only:
            await connection.execute("set default_transaction_read_only = on")

    async def check(connection: Connection) -> None:
        if time.monotonic() - _returned_at.get(connection, 0.0) < TRUSTED_SECONDS:
            return
        try:
            await AsyncConnectionPool.check_connection(connection)
        except OperationalError:
            # One dead connection means that others are dead too: replace them all now. Otherwise the pool finds
            # them one by one and waits 1, 2, 4, … seconds after each.
            await pool.check()
            raise

    pool = Pool(
        dsn,
        min_size=min_size,
        max_size=max_size,
        timeout=POOL_TIMEOUT_SECONDS,
        reconnect_timeout=RECONNECT_TIMEOUT_SECONDS,
        open=False,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "prepare_threshold": 0 if prepare else None,
            "connect_timeout": 10,
            "application_name": name,
        },
        configure=configure,
        check=check,
    )
    return pool


def read_statements(module: str, **parts: LiteralString) -> dict[str, LiteralString]:
    """Return the statements of a module by name.

    In the file `{name}` stands for the statement of that name above it, or for one of the `parts` of other modules.
    """
    _, *named = re.split(r"^-- name: (\w+)\n", (FOLDER / f"{module}.sql").read_text(encoding="utf-8"), flags=re.M)
    found: dict[str, LiteralString] = {}
    for name, text in zip(named[::2], named[1::2], strict=True):
        statement = re.sub(r"^-- .*\n", "", text, flags=re.M).strip()
        for part, value in {**parts, **found}.items():
            statement = statement.replace(f"{{{part}}}", value)
        found[name] = statement
    return found


async def fetch_all(conn: Connection, sql: Statement, params: Params = (), *, row: type[T] | None = None) -> list[T]:
    """Return all rows, as instances of the dataclass `row` if given, else as dicts."""
    return await (await _cursor(conn, row).execute(sql, params or None)).fetchall()


async def fetch_one(conn: Connection, sql: Statement, params: Params = (), *, row: type[T] | None = None) -> T | None:
    """Return the first row, as an instance of the dataclass `row` if given, else as a dict; None if there is none."""
    return await (await _cursor(conn, row).execute(sql, params or None)).fetchone()


def _cursor(conn: Connection, row: type[T] | None) -> AsyncCursor[T]:
    row_factory: Any = class_row(row) if row else dict_row
    return conn.cursor(row_factory=row_factory)


def insert_statement(table: LiteralString, values: Mapping[str, object]) -> Composed:
    """Return the statement that inserts a row, and returns it if its key is new. A value may be an SQL expression."""
    expressions = [value if isinstance(value, Composable) else Placeholder(name) for name, value in values.items()]
    return SQL("insert into {} ({}) values ({}) on conflict do nothing returning *").format(
        Identifier(table), SQL(", ").join(map(Identifier, values)), SQL(", ").join(expressions)
    )


def from_now(delay: timedelta = timedelta()) -> Composed:
    """Return the SQL expression of the time after this delay, by the clock of the database."""
    return SQL("now() + {}").format(delay)


class Database:
    """SQL over one pool. Statements are committed one by one, except inside `transaction`."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def fetch_all(self, sql: Statement, params: Params = (), *, row: type[T] | None = None) -> list[T]:
        """Return all rows. See `fetch_all`."""
        async with self.pool.connection() as connection:
            return await fetch_all(connection, sql, params, row=row)

    async def fetch_one(self, sql: Statement, params: Params = (), *, row: type[T] | None = None) -> T | None:
        """Return the first row, or None. See `fetch_one`."""
        async with self.pool.connection() as connection:
            return await fetch_one(connection, sql, params, row=row)

    async def execute(self, sql: Statement, params: Params = ()) -> int:
        """Run a statement and return the number of affected rows."""
        async with self.pool.connection() as connection:
            hit("commit.before")
            affected = (await connection.execute(sql, params or None)).rowcount
        hit("commit.after")
        return affected

    async def change(self, sql: Statement, params: Params = (), *, row: type[T] | None = None) -> T | None:
        """Run a statement that changes rows, and return its first row, or None. See `fetch_one`."""
        hit("commit.before")
        changed = await self.fetch_one(sql, params, row=row)
        hit("commit.after")
        return changed

    async def insert(self, table: LiteralString, values: Mapping[str, object]) -> DictRow | None:
        """Insert a row and return it; return None if there is one with the same key. See `insert_statement`."""
        return await self.change(insert_statement(table, values), values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yield a connection whose statements are committed together, or rolled back if the block raises."""
        async with self.pool.connection() as connection:
            async with connection.transaction():
                yield connection
                hit("commit.before")
            hit("commit.after")
