"""The checkpointers."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from storage.database import Database, open_pool
from storage.saver import ReadOnlySaver, Saver

CONFIG: Any = {"configurable": {"thread_id": "chat", "checkpoint_ns": ""}}


async def test_read_only_saver_reads_checkpoints(db: Database, database_url: str) -> None:
    """It returns the newest checkpoint and lists all of them."""
    written = await Saver(db.pool).aput(CONFIG, empty_checkpoint(), {"step": 1}, {})
    async with open_pool(database_url, read_only=True) as pool:
        saver = ReadOnlySaver(pool)
        newest = await saver.aget_tuple(CONFIG)
        listed = [each async for each in saver.alist(CONFIG)]

    assert newest is not None
    assert newest.config == written
    assert [each.config for each in listed] == [written]


async def test_newest_checkpoint_is_read_once_for_two_readers(db: Database) -> None:
    """A drive and its graph share one statement, but not the checkpoint; after a write it is read again."""
    saver = Saver(db.pool)
    first = await saver.aput(CONFIG, empty_checkpoint(), {"step": 1}, {})
    before = db.pool.get_stats()["requests_num"]
    one, two = await saver.aget_tuple(CONFIG), await saver.aget_tuple(CONFIG)

    assert db.pool.get_stats()["requests_num"] == before + 1
    assert one is not None
    assert two is not None
    assert one.checkpoint == two.checkpoint
    assert one.checkpoint["channel_versions"] is not two.checkpoint["channel_versions"]
    await saver.aget_tuple(CONFIG)
    await saver.aput_writes(first, [("messages", "x")], "task")
    after = await saver.aget_tuple(CONFIG)
    assert after is not None
    assert after.pending_writes == [("task", "messages", "x")]


async def test_saver_writes_what_the_base_class_writes(db: Database) -> None:
    """One statement for a checkpoint and one for the results of a node leave the same rows; a thread can be deleted."""
    values = {"ideas": [{"n": 1}], "film": {"digest": "a"}, "title": "Rain", "empty": None}
    versions: Any = dict.fromkeys(values, "1.0")
    tuples = []
    for saver in (AsyncPostgresSaver(db.pool), Saver(db.pool)):
        checkpoint = {**empty_checkpoint(), "id": "1", "channel_values": values, "channel_versions": versions}
        written = await saver.aput(CONFIG, checkpoint, {"step": 1}, versions)  # type: ignore[arg-type]
        await saver.aput_writes(written, [("ideas", [1]), ("film", {"digest": "b"}), ("title", "Sun")], "task")
        await saver.aput_writes(written, [("__interrupt__", ["first"])], "gate")
        await saver.aput_writes(written, [("__interrupt__", ["second"])], "gate")
        await saver.aput_writes(written, [], "none")
        tuples.append(await saver.aget_tuple(CONFIG))
        await saver.adelete_thread("chat")
        assert await AsyncPostgresSaver(db.pool).aget_tuple(CONFIG) is None

    base, own = tuples
    assert base is not None
    assert own is not None
    assert own.pending_writes == base.pending_writes
    assert len(own.pending_writes or []) == 4
    assert {**own.checkpoint, "ts": ""} == {**base.checkpoint, "ts": ""}


async def test_read_only_saver_refuses_every_write(db: Database, database_url: str) -> None:
    """The read-only connection would refuse the writes, too."""
    config = await Saver(db.pool).aput(CONFIG, empty_checkpoint(), {}, {})
    async with open_pool(database_url, read_only=True) as pool:
        saver = ReadOnlySaver(pool)
        for write in (
            saver.aput(CONFIG, empty_checkpoint(), {}, {}),
            saver.aput_writes(config, [("messages", "x")], "task"),
            saver.adelete_thread("chat"),
            saver.adelete_for_runs(["run"]),
            saver.acopy_thread("chat", "other"),
            saver.aprune(["chat"]),
        ):
            with pytest.raises(PermissionError, match="These threads are read-only"):
                await write
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await AsyncPostgresSaver(pool).aput(CONFIG, empty_checkpoint(), {}, {})
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await AsyncPostgresSaver(pool).adelete_thread("chat")

    assert await db.fetch_all("select checkpoint_id from checkpoints") == [
        {"checkpoint_id": config["configurable"]["checkpoint_id"]}
    ]
