"""What the tests of the ledger share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runs.production import Production
from tests.databases import database_url, migrated_template, postgres_server
from tests.ledger.shop import Shops, opened
from tests.world import sandbox, sandbox_process

__all__ = ["database_url", "migrated_template", "postgres_server", "sandbox", "sandbox_process"]


@pytest.fixture
def shops() -> Shops:
    """Everybody who sells."""
    return Shops()


@pytest.fixture
async def production(database_url: str, shops: Shops, tmp_path: Path) -> AsyncIterator[Production]:
    """One process of the product, with nobody driving it."""
    async with opened(database_url, shops, tmp_path) as parts:
        yield parts
