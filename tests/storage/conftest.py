"""Fixtures of the storage tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from storage.database import Database, open_pool


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A fresh migrated database."""
    async with open_pool(database_url, max_size=8) as pool:
        yield Database(pool)
