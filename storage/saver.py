"""The checkpointers: LangGraph's own, with the points where a crash would hurt made known, or with reading only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from storage.failpoints import hit


class Saver(AsyncPostgresSaver):
    """One for each drive of a run: a saver serialises everybody who shares it.

    What it writes for a run is refused by the database unless this process is the run's driver
    (`0002_driver.sql`).
    """

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint."""
        hit("checkpoint.before")
        written = await super().aput(config, checkpoint, metadata, new_versions)
        hit("checkpoint.after")
        return written

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Write what a node returned, before the checkpoint that takes it in."""
        hit("writes.before")
        await super().aput_writes(config, writes, task_id, task_path)
        hit("writes.after")


class ReadOnlyError(PermissionError):
    """These threads may be looked at, and nothing else."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class ReadOnlySaver(AsyncPostgresSaver):
    """Reads threads, and refuses whatever would change one. Its connections should be read-only, too."""

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> NoReturn:
        """Refused."""
        raise ReadOnlyError

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> NoReturn:
        """Refused."""
        raise ReadOnlyError

    async def adelete_thread(self, thread_id: str) -> NoReturn:
        """Refused."""
        raise ReadOnlyError

    async def adelete_for_runs(self, run_ids: Iterable[str]) -> NoReturn:
        """Refused."""
        raise ReadOnlyError

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> NoReturn:
        """Refused."""
        raise ReadOnlyError

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> NoReturn:
        """Refused."""
        raise ReadOnlyError
