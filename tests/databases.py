"""Fixtures: one embedded server for the session, and a fresh migrated database for each test that asks."""

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
    """The address of a server of our own, as its superuser; gone with its data after the session."""
    with (
        tempfile.TemporaryDirectory(prefix="myloware-tests-", dir=fast_folder()) as folder,
        EmbeddedPostgres(Path(folder)) as server,
    ):
        # What dies with the session need not reach a disk.
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
        yield server.dsn


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    """The name of a migrated database that nobody is connected to: databases are cloned from it."""
    _create(postgres_server, TEMPLATE, "template1")
    # In a thread: a test's own event loop may be set in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrate(make_conninfo(postgres_server, dbname=TEMPLATE))).result()
    return TEMPLATE


@pytest.fixture
def database_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """The address of a fresh, migrated database of this test alone."""
    yield from _fresh(postgres_server, migrated_template)


@pytest.fixture
def empty_database_url(postgres_server: str) -> Iterator[str]:
    """The address of a fresh database without any table."""
    yield from _fresh(postgres_server, "template1")


def _fresh(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    _create(server, name, template)
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def fast_folder() -> Path | None:
    """Where files are made fastest, or None for the usual place."""
    # A database is some three hundred files: 20 ms in memory, 20 times as long on some disks.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    return memory if roomy and os.access(memory, os.W_OK) else None


def _create(server: str, name: str, template: str) -> None:
    statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)
