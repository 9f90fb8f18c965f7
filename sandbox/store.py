"""State of the sandbox: one SQLite file, written before a request is answered."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = sqlite3.Row

SCHEMA = """
CREATE TABLE IF NOT EXISTS videos (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL, prompt TEXT NOT NULL, seconds TEXT NOT NULL, size TEXT NOT NULL, status TEXT NOT NULL,
    created_at REAL NOT NULL, started_at REAL, completed_at REAL, expires_at REAL,
    error_code TEXT, error_message TEXT, outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS charges (
    video_id TEXT PRIMARY KEY, prompt TEXT NOT NULL, usd REAL NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS posts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE, idempotency_key TEXT UNIQUE,
    profile TEXT NOT NULL, title TEXT NOT NULL, fields TEXT NOT NULL,
    sha256 TEXT, bytes INTEGER, video_url TEXT,
    results TEXT NOT NULL, created_at REAL NOT NULL, ready_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS endpoints (
    id TEXT PRIMARY KEY, name TEXT, url TEXT NOT NULL, event_types TEXT NOT NULL,
    secret TEXT NOT NULL, old_secret TEXT, old_secret_until REAL, created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, endpoint_id TEXT NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    webhook_id TEXT NOT NULL, body TEXT NOT NULL, manner TEXT NOT NULL, created_at REAL NOT NULL,
    due_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, last_status INTEGER, state TEXT NOT NULL DEFAULT 'due'
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at) WHERE state = 'due';
CREATE TABLE IF NOT EXISTS faults (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, times INTEGER, params TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """Synchronous access to the database; a call takes microseconds, so it runs on the event loop."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._db = sqlite3.connect(folder / "state.sqlite3", isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(SCHEMA)

    def fetch_all(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a query."""
        return self._db.execute(sql, values).fetchall()

    def fetch_one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row of a query, or None."""
        row: Row | None = self._db.execute(sql, values).fetchone()
        return row

    def execute(self, sql: str, *values: Any) -> int:
        """Execute a statement and return the number of changed rows; it commits unless inside a transaction."""
        return self._db.execute(sql, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the statements of the block together, or none of them; the block must not await."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def get_setting(self, name: str, default: str) -> str:
        """Return the value of a setting, or the default if it was never set."""
        row = self.fetch_one("SELECT value FROM settings WHERE name = ?", name)
        return default if row is None else str(row["value"])

    def set_setting(self, name: str, value: str) -> None:
        """Set the value of a setting."""
        self.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def close(self) -> None:
        """Close the database."""
        self._db.close()
