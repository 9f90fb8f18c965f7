"""Migrations."""

from __future__ import annotations

import asyncio

import psycopg

from storage.migrate import MIGRATIONS, is_migrated, migrate


async def test_many_at_once_apply_everything_once(empty_database_url: str) -> None:
    """Five that start together on an empty database all return, and each step was taken by one of them."""
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(5)))

    assert sorted(map(bool, applied)) == [False, False, False, False, True]
    names = {name for one in applied for name in one}
    assert {f"myloware/{path.name}" for path in MIGRATIONS.glob("*.sql")} <= names
    assert "procrastinate/schema.sql" in names
    assert "langgraph/0" in names


async def test_a_second_time_applies_nothing(database_url: str) -> None:
    """What was applied is not applied again."""
    assert await migrate(database_url) == []


async def test_an_older_queue_is_brought_up_to_date(database_url: str) -> None:
    """A step of Procrastinate's that is not noted as taken is taken."""
    step = "procrastinate/03.03.00_01_pre_priority_lock_fetch_job.sql"
    function = "select to_regproc('procrastinate_fetch_job_v2') is not null"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop function procrastinate_fetch_job_v2")
        connection.execute("delete from schema_history where name = %s", (step,))

        assert connection.execute(function).fetchone() == (False,)
        assert await migrate(database_url) == [step]
        assert connection.execute(function).fetchone() == (True,)


async def test_whether_it_is_migrated(empty_database_url: str) -> None:
    """It can be told without writing anything: before, after, and when a step of ours is missing."""
    assert not await is_migrated(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
    await migrate(empty_database_url)
    assert await is_migrated(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("delete from schema_history where name = 'myloware/0003_chat.sql'")

    assert tables == (0,)
    assert not await is_migrated(empty_database_url)
