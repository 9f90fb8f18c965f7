"""The connection pool and its statements."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from storage import database
from storage.database import Database, fetch_all, fetch_one, open_pool


async def test_rows_are_dicts_by_default(db: Database) -> None:
    """Every statement returns rows by column name."""
    assert await db.fetch_one("select %s::int as a", (1,)) == {"a": 1}
    assert await db.fetch_all("select %(n)s::int as a union all select 2 order by 1", {"n": 1}) == [
        {"a": 1},
        {"a": 2},
    ]
    assert await db.fetch_one("select 1 where false") is None
    assert await db.execute("insert into workers (id) values ('a'), ('b')") == 2
    async with db.transaction() as connection:
        assert await (await connection.execute("select '5 %' as a")).fetchone() == {"a": "5 %"}


async def test_rows_are_instances_of_a_given_dataclass(db: Database) -> None:
    """Inside a transaction, too."""

    @dataclass(frozen=True)
    class Point:
        x: int
        y: int

    query = "select 1 as x, 2 as y"
    assert await db.fetch_one(query, row=Point) == Point(1, 2)
    assert await db.fetch_all(query, row=Point) == [Point(1, 2)]
    assert await db.fetch_one("select 1 as x, 2 as y where false", row=Point) is None
    async with db.transaction() as connection:
        assert await fetch_one(connection, query, row=Point) == Point(1, 2)
        assert await fetch_all(connection, query, row=Point) == [Point(1, 2)]
        assert await fetch_one(connection, query) == {"x": 1, "y": 2}


async def test_failed_transaction_is_rolled_back(db: Database) -> None:
    """All statements of a transaction are committed, or none."""

    async def fail_half_way() -> None:
        async with db.transaction() as connection:
            await connection.execute("insert into workers (id) values ('a')")
            await connection.execute("select 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await fail_half_way()
    async with db.transaction() as connection:
        await connection.execute("insert into workers (id) values ('b')")

    assert await db.fetch_all("select id from workers") == [{"id": "b"}]


async def test_statements_are_committed_at_once(db: Database) -> None:
    """Outside a transaction other connections see a change before the connection is returned to the pool."""
    async with db.pool.connection() as connection:
        await connection.execute("insert into workers (id) values ('a')")

        assert await db.fetch_all("select id from workers") == [{"id": "a"}]


async def test_terminated_connections_are_replaced(database_url: str) -> None:
    """Statements succeed at once after the database has terminated every connection."""
    async with open_pool(database_url, min_size=8, max_size=8) as pool:
        await pool.wait()
        db = Database(pool)
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )

        assert [await db.fetch_one("select 1 as a") for _ in range(9)] == [{"a": 1}] * 9


async def test_read_only_pool_refuses_writes(database_url: str) -> None:
    """The server itself refuses them, in a transaction too."""
    async with open_pool(database_url, read_only=True) as pool:
        db = Database(pool)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await db.execute("insert into workers (id) values ('a')")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with db.transaction() as connection:
                await connection.execute("delete from runs")

        assert await db.fetch_all("select id from workers") == []


async def test_pool_is_shared_with_checkpoints(db: Database) -> None:
    """LangGraph's checkpointer uses its connections as they are."""
    saver = AsyncPostgresSaver(db.pool)
    config = {"configurable": {"thread_id": "a", "checkpoint_ns": ""}}
    await saver.aput(config, empty_checkpoint(), {}, {})
    found = await saver.aget_tuple(config)

    assert found is not None
    assert found.checkpoint["v"] == empty_checkpoint()["v"]


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancellation_takes_effect_although_a_connection_comes(database_url: str, steps: int) -> None:
    """In whatever step of the event loop between the return of a connection and its next use it arrives."""
    async with open_pool(database_url, max_size=1) as pool:

        async def use() -> None:
            async with pool.connection():
                await asyncio.sleep(60)

        async with pool.connection():
            waiting = asyncio.create_task(use())
            await asyncio.sleep(0.05)
            assert pool.get_stats()["requests_waiting"] == 1
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait([waiting], timeout=2)
        for task in {waiting} - done:
            task.cancel()
            await asyncio.wait([task])

        assert done == {waiting}
        assert waiting.cancelled()
        async with pool.connection(timeout=1):
            pass


@pytest.mark.parametrize(("trusted_seconds", "is_checked"), [(60.0, False), (0.0, True)])
async def test_a_connection_is_checked_only_after_a_pause(
    database_url: str, monkeypatch: pytest.MonkeyPatch, trusted_seconds: float, is_checked: bool
) -> None:
    """One that was just used is used again without a check: if it died meanwhile, one statement fails."""
    monkeypatch.setattr(database, "TRUSTED_SECONDS", trusted_seconds)
    async with open_pool(database_url, max_size=1) as pool:
        db = Database(pool)
        [row] = await db.fetch_all("select pg_backend_pid() as pid")
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
            await other.execute("select pg_terminate_backend(%s, 1000)", (row["pid"],))
        if not is_checked:
            with pytest.raises(psycopg.OperationalError):
                await db.fetch_all("select 1 as n")
        assert await db.fetch_all("select 1 as n") == [{"n": 1}]
