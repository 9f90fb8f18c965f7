"""State of the sandbox: one SQLite file, written before a request is answered."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = sqlite3.Row


class Store:
    """Synchronous access to the database; a call takes microseconds, so it runs on the event loop."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._db = sqlite3.connect(folder / "state.sqlite3", isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(Path(__file__).with_name("schema.sql").read_text("utf-8"))

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

    def insert(self, table: str, **values: Any) -> None:
        """Insert a row, unless there is one with the same key."""
        places = ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) ON CONFLICT DO NOTHING"  # noqa: S608
        self.execute(sql, *values.values())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the statements of the block together, or none of them; the block must not await."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            yield

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
