"""The embedded Postgres of both sides, their databases, and their processes."""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psutil
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier

from bench.options import BARE_SCHEMA, ProductOptions
from bench.results import ROOT
from storage.embedded_postgres import EmbeddedPostgres
from storage.migrate import migrate

#: The role of the observer: its statements do not count.
OBSERVER = "bench"
STOP_SECONDS = 30.0
STATEMENTS = """
select coalesce(sum(calls), 0)::bigint as statements,
       coalesce(sum(calls) filter (where control), 0)::bigint as control
from (select calls, query ~* '^(begin|commit|rollback|savepoint|release|start transaction)' as control
      from pg_stat_statements
      where dbid = (select oid from pg_database where datname = current_database())
        and userid <> (select oid from pg_roles where rolname = current_user)) as counted
"""


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, seconds of load per round, and numbers of runs."""

    rounds: int = 5
    seconds: float = 0.3
    idle_runs: int = 4
    runs: int = 16
    many: int = 64
    woken: int = 150
    paused: int = 5_000
    streams: int = 480


TINY = Effort(rounds=1, seconds=0.1, idle_runs=1, runs=2, many=2, woken=2, paused=5, streams=5)


class Program:
    """A running program of this folder: its address, its output as JSON lines, and the resources it uses."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process, self.url = process, url
        self.usage = psutil.Process(process.pid)

    def command(self, line: str) -> None:
        """Send a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def output(self) -> Any:
        """Return the next line of its output, or None at its end."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return json.loads(line) if line else None

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used."""
        times = self.usage.cpu_times()
        return float(times.user + times.system)

    async def stop(self) -> None:
        """End the process by the end of its standard input, or by force."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def run_program(module: str, argument: str) -> AsyncIterator[Program]:
    """Run `python -m module argument` for the block. Raises RuntimeError if it does not start."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, argument, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**20
    )  # fmt: skip
    assert process.stdout is not None
    first = await process.stdout.readline()
    if not first:
        raise RuntimeError(f"{module} did not start; its error is on standard error.")
    program = Program(process, json.loads(first)["url"])
    try:
        yield program
    finally:
        await program.stop()


class Observer:
    """A connection of the observer's role to one database."""

    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self.connection = connection

    async def rows(self, query: LiteralString, *values: object) -> list[DictRow]:
        """Return the rows of a query."""
        return await (await self.connection.execute(query, values or None)).fetchall()

    async def statements(self) -> tuple[int, int]:
        """Return how many statements others have sent to this database, and how many of them control transactions."""
        [row] = await self.rows(STATEMENTS)
        return row["statements"], row["control"]


@dataclass(frozen=True)
class Stage:
    """The server of all databases, a folder, and the effort."""

    dsn: str
    postgres: str
    folder: Path
    effort: Effort

    async def database(self, *, migrated: bool) -> str:
        """Create a database, with the tables of the product or of the bare API; return its connection string."""
        name = f"bench_{uuid4().hex[:12]}"
        await self._execute(SQL("create database {}").format(Identifier(name)))
        dsn = make_conninfo(self.dsn, dbname=name)
        if migrated:
            await migrate(dsn)
        async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute("create extension pg_stat_statements")
            if not migrated:
                await connection.execute(BARE_SCHEMA)
        return dsn

    @asynccontextmanager
    async def observer(self, dsn: str) -> AsyncIterator[Observer]:
        """Open a connection whose statements do not count."""
        # The server accepts one user only; statements are counted by the role that executes them.
        target = make_conninfo(dsn, options=f"-c role={OBSERVER}")
        async with await AsyncConnection.connect(target, autocommit=True, row_factory=dict_row) as connection:
            yield Observer(connection)

    @asynccontextmanager
    async def product(
        self, dsn: str, *, working: bool, clip_seconds: float = 0.1, metrics_port: int | None = None
    ) -> AsyncIterator[Program]:
        """Run the product on this database, with its worker if it is `working`."""
        options = ProductOptions(dsn, str(self.folder / f"data-{uuid4().hex[:8]}"), clip_seconds, metrics_port)
        async with run_program("bench.product", json.dumps(asdict(options))) as program:
            if working:
                program.command("work")
            yield program

    async def _execute(self, statement: Any) -> None:
        async with await AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute(statement)


@asynccontextmanager
async def open_stage(effort: Effort) -> AsyncIterator[Stage]:
    """Start an embedded Postgres as the product does, with pg_stat_statements."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="myloware-bench-")))
        server = EmbeddedPostgres(folder / "postgres")
        await asyncio.to_thread(server.start)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        async with await AsyncConnection.connect(server.dsn, autocommit=True) as connection:
            await connection.execute("alter system set shared_preload_libraries = 'pg_stat_statements'")
            await connection.execute(SQL("create role {} superuser login").format(Identifier(OBSERVER)))
            version = connection.info.server_version // 10_000, connection.info.server_version % 10_000
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        yield Stage(server.dsn, ".".join(map(str, version)), folder, effort)
