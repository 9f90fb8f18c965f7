"""The checkpointer that only reads."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from storage.database import Database, open_pool
from storage.saver import ReadOnlyError, ReadOnlySaver, Saver

HERE: Any = {"configurable": {"thread_id": "talk", "checkpoint_ns": ""}}


async def test_reads_what_is_there(db: Database, database_url: str) -> None:
    """The newest checkpoint, and all of them."""
    written = await Saver(db.pool).aput(HERE, empty_checkpoint(), {"step": 1}, {})
    async with open_pool(database_url, read_only=True) as pool:
        saver = ReadOnlySaver(pool)
        newest = await saver.aget_tuple(HERE)
        listed = [each async for each in saver.alist(HERE)]

    assert newest is not None
    assert newest.config == written
    assert [each.config for each in listed] == [written]


async def test_writes_nothing(db: Database, database_url: str) -> None:
    """Each way to change a thread is refused in one sentence; and were it not, the database would refuse it."""
    config = await Saver(db.pool).aput(HERE, empty_checkpoint(), {}, {})
    async with open_pool(database_url, read_only=True) as pool:
        saver = ReadOnlySaver(pool)
        for change in (
            saver.aput(HERE, empty_checkpoint(), {}, {}),
            saver.aput_writes(config, [("messages", "x")], "task"),
            saver.adelete_thread("talk"),
            saver.adelete_for_runs(["run"]),
            saver.acopy_thread("talk", "other"),
            saver.aprune(["talk"]),
        ):
            with pytest.raises(ReadOnlyError, match="may be looked at, and nothing else"):
                await change
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await AsyncPostgresSaver(pool).aput(HERE, empty_checkpoint(), {}, {})
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await AsyncPostgresSaver(pool).adelete_thread("talk")

    assert await db.fetch_all("select checkpoint_id from checkpoints") == [
        {"checkpoint_id": config["configurable"]["checkpoint_id"]}
    ]
