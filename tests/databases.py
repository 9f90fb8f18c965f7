"""Database fixtures: one embedded server per session, and a fresh migrated database per test."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from storage.embedded_postgres import EmbeddedPostgres
from storage.migrate import migrate

TEMPLATE = "migrated"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The superuser's connection string of a server that is deleted after the session."""
    with (
        tempfile.TemporaryDirectory(prefix="myloware-tests-", dir=fast_folder()) as folder,
        EmbeddedPostgres(Path(folder)) as server,
    ):
        # The data is deleted with the session, so it does not need to reach a disk.
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
        yield server.dsn


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    """The name of a migrated database without connections, from which databases are cloned."""
    _create_database(postgres_server, TEMPLATE, "template1")
    # In a thread, because this one may have the event loop of a test.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrate(make_conninfo(postgres_server, dbname=TEMPLATE))).result()
    return TEMPLATE


@pytest.fixture
def database_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """The connection string of a fresh migrated database."""
    yield from fresh_database(postgres_server, migrated_template)


@pytest.fixture
def empty_database_url(postgres_server: str) -> Iterator[str]:
    """The connection string of a fresh database without tables."""
    yield from fresh_database(postgres_server, "template1")


def fresh_database(server: str, template: str) -> Iterator[str]:
    """Yield the connection string of a clone of `template`, and drop it afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _create_database(server, name, template)
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def fast_folder() -> Path | None:
    """Return the folder in memory if there is room, else None for the default one."""
    # A database has about three hundred files: 20 ms in memory, 20 times as long on some disks.
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    return memory if has_room and os.access(memory, os.W_OK) else None


def _create_database(server: str, name: str, template: str) -> None:
    # A template is few pages: to copy its files takes half the time that its way through the log does.
    statement = sql.SQL("create database {} template {} strategy file_copy")
    names = sql.Identifier(name), sql.Identifier(template)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.format(*names))
