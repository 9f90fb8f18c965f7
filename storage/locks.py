"""Who may move a run: whoever's Postgres session holds its advisory lock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from storage.database import Params

log = logging.getLogger(__name__)

BEAT = 1.0
ANSWER = 5.0  # a session that does not answer for so long counts as lost
GONE = "the session that holds the locks is gone"

# A name is a 64-bit advisory key. Two names with the same key would only wait for one another.
KEY: LiteralString = "hashtextextended(%(name)s, 7119)"
TRY: LiteralString = f"select pg_try_advisory_lock({KEY}) as locked"
UNLOCK: LiteralString = f"select pg_advisory_unlock({KEY})"

# pg_locks shows a 64-bit key in two halves.
HELD = """
select name from unnest(%(names)s::text[]) as name
where hashtextextended(name, 7119) in (
    select classid::bigint << 32 | objid::bigint from pg_locks
    where locktype = 'advisory' and objsubid = 1 and granted
      and database = (select oid from pg_database where datname = current_database()))
"""

BEAT_NOW = """
insert into workers (id, beat_at) values (%(id)s, clock_timestamp())
on conflict (id) do update set beat_at = excluded.beat_at
"""

# A process that is frozen keeps its session and with it its locks, until somebody ends that session. Rows
# whose session is gone are only swept away.
CUT_OFF = """
with late as (
    select id from workers where beat_at < clock_timestamp() - make_interval(secs => %(seconds)s)),
sessions as (
    select pid, application_name from pg_stat_activity join late on late.id = application_name
    where datname = current_database() and pid <> pg_backend_pid()),
swept as (
    delete from workers using late
    where workers.id = late.id and late.id not in (select application_name from sessions))
select count(*) filter (where pg_terminate_backend(pid)) as cut from sessions
"""

# The server, too, should notice soon when the machine at the other end is gone.
KEEPALIVES = """
select set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false)
"""


class LockBusy(Exception):
    """Another process or task holds it."""


class LockLost(Exception):
    """The session that held the lock is gone: another may hold it by now, so the work was stopped."""


@dataclass
class _Holder:
    task: asyncio.Task[Any]
    cancelling: int
    lost: bool = False


class Locks:
    """The locks of this process, held by one connection of its own; enter it, then `hold`.

    The locks go with the session: milliseconds after the process dies, at the latest `BEAT + ANSWER` seconds
    after the database became unreachable the holders here are stopped, and `cut_off_frozen`, asked with more
    seconds than that, ends the sessions of processes that are frozen. The connection must be a direct one.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        #: Also the application_name of the session; Postgres keeps 63 bytes of it.
        self.worker_id = f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._connection: AsyncConnection[DictRow] | None = None
        self._turn = asyncio.Lock()
        self._holders: dict[str, _Holder] = {}
        self._asked: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Locks:
        """Raises psycopg.OperationalError when the database cannot be reached."""
        await self._connect()
        self._beating = asyncio.create_task(self._beat(), name="locks")
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._answered("delete from workers where id = %(id)s")
        finally:
            self._beating.cancel()
            await asyncio.wait({self._beating})
        if not self._beating.cancelled():
            self._beating.result()

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Hold `name` while the block runs. Raises Busy at once when anybody holds it, this process included.

        Raises LockLost out of the block when the session dies meanwhile, or when there is none.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        if name in self._holders:
            raise LockBusy(name)
        holder = self._holders[name] = _Holder(task, task.cancelling())
        try:
            if not await self._try(name):
                raise LockBusy(name)
            try:
                yield
            finally:
                if not holder.lost:
                    await self._unlock(name)
        except asyncio.CancelledError:
            # Ours or a stranger's? As asyncio.timeout tells them apart.
            if holder.lost and task.cancelling() - 1 <= holder.cancelling:
                raise LockLost(name) from None
            raise
        finally:
            del self._holders[name]
            if holder.lost:
                task.uncancel()
        if holder.lost:
            raise LockLost(name)

    async def held(self, names: Collection[str]) -> set[str]:
        """Those of `names` that anybody holds now. Raises psycopg.OperationalError without a session."""
        return {row["name"] for row in await self._ask(HELD, {"names": list(names)})}

    async def cut_off_frozen(self, older_than_seconds: float) -> int:
        """End the lock sessions of processes whose last beat is older; how many were ended.

        Raises psycopg.OperationalError without a session.
        """
        [row] = await self._ask(CUT_OFF, {"seconds": older_than_seconds})
        return int(row["cut"])

    async def _try(self, name: str) -> bool:
        try:
            [row] = await self._ask(TRY, {"name": name})
        except psycopg.Error as error:
            raise LockLost(name) from error
        except asyncio.CancelledError:
            await self._unlock(name)  # it may have been locked all the same
            raise
        return bool(row["locked"])

    async def _unlock(self, name: str) -> None:
        with contextlib.suppress(psycopg.Error):  # no session, no lock
            await self._ask(UNLOCK, {"name": name})

    async def _ask(self, sql: LiteralString, params: Params) -> list[DictRow]:
        """One statement on the session. A caller that is cancelled leaves it to finish: others use it too."""
        asked = self._task(self._execute(sql, params))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if asked.cancelled() and task is not None and not task.cancelling():
                raise psycopg.OperationalError(GONE) from None
            raise

    async def _execute(self, sql: LiteralString, params: Params) -> list[DictRow]:
        async with self._turn:
            if self._connection is None:
                raise psycopg.OperationalError(GONE)
            cursor = await self._connection.execute(sql, params)
            return await cursor.fetchall() if cursor.description else []

    def _task(self, coroutine: Coroutine[Any, Any, list[DictRow]]) -> asyncio.Task[list[DictRow]]:
        task = asyncio.create_task(coroutine)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return task

    async def _beat(self) -> None:
        try:
            await self._keep_beating()
        finally:  # who does not beat may be cut off, and must not go on holding
            await self._lose("the locks are let go")

    async def _keep_beating(self) -> None:
        while True:
            if self._connection is None:
                try:
                    await self._connect()
                    log.info("the locks have a session again")
                except psycopg.Error as error:
                    log.warning("no session for the locks yet: %s", error)
            elif not await self._answered(BEAT_NOW):
                log.warning("the session of the locks is lost")
                await self._lose("lock lost")
                continue
            await asyncio.sleep(BEAT)

    async def _answered(self, sql: LiteralString) -> bool:
        asked = self._task(self._execute(sql, {"id": self.worker_id}))
        await asyncio.wait({asked}, timeout=ANSWER)
        if not asked.done() or asked.cancelled():
            return False
        error = asked.exception()
        if error is not None and not isinstance(error, psycopg.Error):
            raise error
        return error is None

    async def _connect(self) -> None:
        connection = await AsyncConnection.connect(
            self._dsn, autocommit=True, row_factory=dict_row, application_name=self.worker_id,
            connect_timeout=5, keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
        )  # fmt: skip
        try:
            await connection.execute(KEEPALIVES)
            await connection.execute(BEAT_NOW, {"id": self.worker_id})
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def _lose(self, why: str) -> None:
        """Stop all holders, then drop the session. The holders first: every moment counts."""
        for holder in self._holders.values():
            if not holder.lost:
                holder.lost = True
                holder.task.cancel(why)
        connection, self._connection = self._connection, None
        waiting = set(self._asked)
        for asked in waiting:
            asked.cancel()
        if connection is not None:
            await connection.close()
        if waiting:
            await asyncio.wait(waiting)
