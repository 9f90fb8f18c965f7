"""Readiness: whether the database, its schema, the store and a worker are there."""

import asyncio
import time

from providers.base import Unavailable
from storage.artifacts import Artifacts
from storage.database import DATABASE_UNAVAILABLE, Database, read_statements
from storage.migrate import newest_schema
from storage.wakeups import WORKER_LOCK

#: For so long an answer is repeated: anyone may request it.
ANSWER_SECONDS = 3.0
DATABASE_TIMEOUT_SECONDS = 5.0
OK = "ok"

sql = read_statements("readiness")
PROBLEMS = {
    "database": ("is_writable", "The database is read-only."),
    "schema": ("is_current", "The schema is not up to date."),
    "worker": ("has_worker", "No worker is running."),
}


class Readiness:
    """The checks of a process."""

    def __init__(self, db: Database, artifacts: Artifacts) -> None:
        self._db, self._artifacts = db, artifacts
        self._lock = asyncio.Lock()
        self._checks: dict[str, str] = {}
        self._checked_at = float("-inf")

    async def check(self) -> dict[str, str]:
        """Return "ok" or a sentence for each of database, schema, worker and store."""
        async with self._lock:
            if time.monotonic() - self._checked_at > ANSWER_SECONDS:
                self._checks = {**await self._check_database(), "store": OK}
                try:
                    await self._artifacts.probe()
                except Unavailable as error:
                    self._checks["store"] = error.message
                self._checked_at = time.monotonic()
            return dict(self._checks)

    async def _check_database(self) -> dict[str, str]:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
                values = {"schema": sorted(newest_schema()), "worker_lock": WORKER_LOCK}
                row = await self._db.fetch_one(sql["state"], values) or {}
        except (TimeoutError, *DATABASE_UNAVAILABLE):
            return dict.fromkeys(PROBLEMS, "The database cannot be reached.")
        return {name: OK if row[column] else problem for name, (column, problem) in PROBLEMS.items()}
