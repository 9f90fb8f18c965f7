"""Checkpointers: LangGraph's own with failpoints and fewer statements, and a read-only one."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, NoReturn

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple, copy_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncCursor
from psycopg.rows import DictRow

from storage.failpoints import hit


class _Writes:
    """Takes the place of a cursor: collects the statements of one write, and sends them as one."""

    def __init__(self) -> None:
        self._statements: list[str] = []
        self._values: list[object] = []

    async def execute(self, query: str, values: Sequence[object]) -> None:
        """Collect a statement of one row."""
        await self.executemany(query, [values])

    async def executemany(self, query: str, rows: Iterable[Sequence[object]]) -> None:
        """Collect an insert of these rows."""
        if values := list(rows):
            together = re.sub(r"(?<=VALUES )\(.*?\)", lambda row: ", ".join([row[0]] * len(values)), query)
            self._statements.append(together.strip().removesuffix(";"))
            self._values += chain.from_iterable(values)

    async def send(self, cursor: AsyncCursor[DictRow]) -> None:
        """Execute all of them as one statement."""
        if self._statements:
            *others, last = self._statements
            tables = ", ".join(f"part_{number} as ({statement})" for number, statement in enumerate(others))
            await cursor.execute((f"with {tables} {last}" if tables else last).encode(), self._values)


class Saver(AsyncPostgresSaver):
    """LangGraph's checkpointer with failpoints. Create one per drive of a run: a saver serialises its users.

    A step is written with one statement for its results and one for its checkpoint. The database refuses what it
    writes for a run unless this process is the run's driver (trigger `check_driver`).
    """

    #: The newest checkpoint, if it was read once and is not outdated.
    _newest: CheckpointTuple | None = None

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[Any]:
        """Yield a cursor; for writes, which the base class sends in a pipeline, one that sends one statement."""
        if not pipeline:
            async with super()._cursor() as cursor:
                yield cursor
            return
        writes = _Writes()
        yield writes
        async with super()._cursor() as cursor:
            await writes.send(cursor)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint. What a drive reads to decide what to do, the graph then reads without a statement."""
        configurable = config["configurable"]
        if configurable.get("checkpoint_ns") or configurable.get("checkpoint_id"):
            return await super().aget_tuple(config)
        newest, self._newest = self._newest, None
        if newest is None and (newest := await super().aget_tuple(config)):
            self._newest = newest._replace(checkpoint=copy_checkpoint(newest.checkpoint))
        return newest

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint."""
        self._newest = None
        hit("checkpoint.before")
        written = await super().aput(config, checkpoint, metadata, new_versions)
        hit("checkpoint.after")
        return written

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Write the result of a node, before the checkpoint that contains it."""
        self._newest = None
        hit("writes.before")
        await super().aput_writes(config, writes, task_id, task_path)
        hit("writes.after")


READ_ONLY = "These threads are read-only."


class ReadOnlySaver(AsyncPostgresSaver):
    """A checkpointer that refuses every write. Its connections should be read-only too."""

    async def _refuse(self, *_args: object, **_options: object) -> NoReturn:
        raise PermissionError(READ_ONLY)

    aput = aput_writes = adelete_thread = adelete_for_runs = acopy_thread = aprune = _refuse
