"""Migrations."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from storage.migrate import MIGRATIONS, DatabaseUnusable, is_migrated, migrate


async def test_concurrent_migrations_apply_everything_once(empty_database_url: str) -> None:
    """One of five processes that start together on an empty database migrates it; the others wait."""
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(5)))

    assert sorted(map(bool, applied)) == [False, False, False, False, True]
    names = {name for one in applied for name in one}
    assert {f"myloware/{path.name}" for path in MIGRATIONS.glob("*.sql")} == names
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        assert connection.execute("select count(*) > 0 from checkpoint_migrations").fetchone() == (True,)


async def test_second_migration_applies_nothing(database_url: str) -> None:
    """Applied migrations are not applied again."""
    assert await migrate(database_url) == []


async def test_is_migrated_writes_nothing(empty_database_url: str) -> None:
    """It is false before the migration and when a migration of the product is missing, true in between."""
    assert not await is_migrated(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
    await migrate(empty_database_url)
    assert await is_migrated(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("delete from schema_history where name = 'myloware/0001_schema.sql'")

    assert tables == (0,)
    assert not await is_migrated(empty_database_url)


@pytest.mark.parametrize("function", [migrate, is_migrated])
async def test_database_of_version_0_1_is_refused(empty_database_url: str, function: object) -> None:
    """It is left unchanged, and the error says what to do."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("create table schema_history (name text primary key, applied_at timestamptz)")
        connection.execute("insert into schema_history (name) values ('myloware/0001_first.sql')")
    with pytest.raises(DatabaseUnusable) as refused:
        await function(empty_database_url)  # type: ignore[operator]  # one of the two functions above

    assert str(refused.value) == (
        "The database was created by MyloWare 0.1, which this version cannot read. "
        "Finish its open runs with 0.1, or use another database or data folder."
    )
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert tables == [("schema_history",)]


@pytest.mark.parametrize("function", [migrate, is_migrated])
async def test_a_database_of_a_newer_version_is_refused(database_url: str, function: object) -> None:
    """A program does not read rows that a newer one has given other columns."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into schema_history (name) values ('myloware/9999_later.sql')")
    with pytest.raises(DatabaseUnusable, match=r"A newer version of MyloWare .*9999_later\.sql"):
        await function(database_url)  # type: ignore[operator]  # one of the two functions above
