"""Locks by name, of runs, orders and chat sessions: Postgres advisory locks, held by one session per process."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Any, LiteralString, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from storage.database import Params, read_statements
from telemetry.logs import log_outage, log_recovery

HEARTBEAT_INTERVAL_SECONDS = 1.0
#: A session that does not respond within this time counts as lost.
RESPONSE_TIMEOUT_SECONDS = 5.0
SESSION_LOST = "the session that holds the locks is lost"

sql = read_statements("locks")


class LockBusy(Exception):
    """Another process or task holds the lock."""


class LockLost(Exception):
    """The session that held the lock is lost and another process may hold it, so the work was cancelled."""


class Locks:
    """The locks of this process on a connection of its own. Enter it, then call `hold`.

    The locks are released with the session, milliseconds after the process dies. A process that cannot reach the
    database cancels its own holders within `HEARTBEAT_INTERVAL_SECONDS + RESPONSE_TIMEOUT_SECONDS`;
    `disconnect_frozen_workers`, called with more seconds than that, ends the sessions of frozen processes. The
    connection must be a direct one, without a pooler.
    """

    def __init__(self, dsn: str) -> None:
        self.session_url = dsn
        # Also the application_name of the session; Postgres keeps 63 bytes of it.
        self.worker_id = f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._connection: AsyncConnection[DictRow] | None = None
        self._statement_lock = asyncio.Lock()
        self._holders: dict[str, asyncio.Timeout] = {}
        self._statements: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        """Connect. Raises psycopg.OperationalError when the database cannot be reached."""
        await self._connect()
        self._heartbeat = asyncio.create_task(self._run_heartbeat(), name="locks")
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._succeeds("delete from workers where id = %(id)s")
        finally:
            self._heartbeat.cancel()
            await asyncio.wait({self._heartbeat})
        if not self._heartbeat.cancelled():
            self._heartbeat.result()

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Hold the lock `name` while the block runs.

        Raises LockBusy at once when it is held, also by this process; LockLost when the session is lost or missing.
        """
        if name in self._holders:
            raise LockBusy(name)
        # The timeout has no deadline until the session is lost. It cancels the block then, and distinguishes that from
        # a cancellation by the caller.
        holder = self._holders[name] = asyncio.timeout(None)
        try:
            async with holder:
                if not await self._try(name):
                    raise LockBusy(name)
                try:
                    yield
                finally:
                    if holder.when() is None:
                        await self._unlock(name)
        except TimeoutError:
            if not holder.expired():
                raise
        finally:
            del self._holders[name]
        if holder.when() is not None:
            raise LockLost(name)

    @property
    def count(self) -> int:
        """Return how many locks this process holds."""
        return len(self._holders)

    @property
    def is_connected(self) -> bool:
        """Return whether there is a session, without which no lock is held."""
        return self._connection is not None

    async def disconnect_frozen_workers(self, older_than_seconds: float) -> int:
        """End the sessions of processes whose last heartbeat is older; return their number. Raises psycopg.Error."""
        [row] = await self._query(sql["disconnect"], {"seconds": older_than_seconds})
        return int(row["terminated"])

    async def _try(self, name: str) -> bool:
        try:
            [row] = await self._query(sql["try_lock"], {"name": name})
        except psycopg.Error as error:
            raise LockLost(name) from error
        except asyncio.CancelledError:
            await self._unlock(name)  # the statement may have locked it nevertheless
            raise
        return bool(row["locked"])

    async def _unlock(self, name: str) -> None:
        with contextlib.suppress(psycopg.Error):  # without a session there is no lock
            await self._query(sql["unlock"], {"name": name})

    async def _query(self, sql: LiteralString, params: Params) -> list[DictRow]:
        """Run one statement. It finishes even if the caller is cancelled, because others use the session too."""
        statement = asyncio.create_task(self._execute(sql, params))
        self._statements.add(statement)
        statement.add_done_callback(self._statements.discard)
        try:
            return await asyncio.shield(statement)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if statement.cancelled() and task is not None and not task.cancelling():
                raise psycopg.OperationalError(SESSION_LOST) from None
            raise

    async def _execute(self, sql: LiteralString, params: Params) -> list[DictRow]:
        async with self._statement_lock:
            if self._connection is None:
                raise psycopg.OperationalError(SESSION_LOST)
            cursor = await self._connection.execute(sql, params)
            return await cursor.fetchall() if cursor.description else []

    async def _run_heartbeat(self) -> None:
        try:
            while True:
                await self._beat()
        finally:  # without a heartbeat this process may be disconnected and must not go on holding
            await self._drop_session()

    async def _beat(self) -> None:
        if self._connection is None:
            try:
                await self._connect()
            except psycopg.Error as error:
                log_outage("database", error)
        elif not await self._succeeds(sql["heartbeat"]):
            log_outage("database", SESSION_LOST)
            await self._drop_session()
            return
        else:
            log_recovery("database")
        await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)

    async def _succeeds(self, sql: LiteralString) -> bool:
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                await self._query(sql, {"id": self.worker_id})
        except (TimeoutError, psycopg.Error):
            return False
        return True

    async def _connect(self) -> None:
        connection = await AsyncConnection.connect(
            self.session_url, autocommit=True, row_factory=dict_row, application_name=self.worker_id,
            connect_timeout=5, keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
        )  # fmt: skip
        try:
            await connection.execute(sql["keepalives"])
            await connection.execute(sql["heartbeat"], {"id": self.worker_id})
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def _drop_session(self) -> None:
        """Cancel all holders first, because every moment counts, then close the session."""
        for holder in self._holders.values():
            if holder.when() is None:
                holder.reschedule(0)
        connection, self._connection = self._connection, None
        pending = set(self._statements)
        for statement in pending:
            statement.cancel()
        if connection is not None:
            await connection.close()
        if pending:
            await asyncio.wait(pending)
