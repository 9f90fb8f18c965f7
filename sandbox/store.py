"""The sandbox's memory: one SQLite file, written before anything is answered."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = sqlite3.Row

SCHEMA = """
CREATE TABLE IF NOT EXISTS videos (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,
    seconds TEXT NOT NULL,
    size TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL,
    completed_at REAL,
    expires_at REAL,
    error_code TEXT,
    error_message TEXT,
    fate TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS charges (
    video_id TEXT PRIMARY KEY,
    prompt TEXT NOT NULL,
    usd REAL NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS posts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT UNIQUE,
    profile TEXT NOT NULL,
    title TEXT NOT NULL,
    fields TEXT NOT NULL,
    sha256 TEXT,
    bytes INTEGER,
    video_url TEXT,
    results TEXT NOT NULL,
    created_at REAL NOT NULL,
    ready_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS endpoints (
    id TEXT PRIMARY KEY,
    name TEXT,
    url TEXT NOT NULL,
    event_types TEXT NOT NULL,
    secret TEXT NOT NULL,
    old_secret TEXT,
    old_secret_until REAL,
    created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint_id TEXT NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    webhook_id TEXT NOT NULL,
    body TEXT NOT NULL,
    manner TEXT NOT NULL,
    created_at REAL NOT NULL,
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    state TEXT NOT NULL DEFAULT 'due'
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at) WHERE state = 'due';
CREATE TABLE IF NOT EXISTS faults (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    times INTEGER,
    params TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """Small synchronous calls; each is microseconds, so they are made on the event loop."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._db = sqlite3.connect(folder / "sandbox.sqlite3", isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(SCHEMA)

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Every row of a question."""
        return self._db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a question, if there is one."""
        row: Row | None = self._db.execute(sql, values).fetchone()
        return row

    def number(self, sql: str, *values: Any) -> float:
        """The single number a question asks for; 0 for nothing."""
        row = self.one(sql, *values)
        return row[0] or 0 if row is not None else 0

    def write(self, sql: str, *values: Any) -> int:
        """One change, committed unless inside a transaction. Returns how many rows it changed."""
        return self._db.execute(sql, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several changes together or none. Never await inside."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def setting(self, name: str, default: str) -> str:
        """What was last kept under a name."""
        row = self.one("SELECT value FROM settings WHERE name = ?", name)
        return default if row is None else str(row["value"])

    def keep_setting(self, name: str, value: str) -> None:
        """Keeps a value under a name."""
        self.write("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()
