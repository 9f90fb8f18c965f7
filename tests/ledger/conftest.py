"""Fixtures of the ledger tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runs.services import Services
from tests.ledger.fake_provider import FakeProviders, open_services


@pytest.fixture
def fake_providers() -> FakeProviders:
    """A provider for each kind of order."""
    return FakeProviders()


@pytest.fixture
async def services(database_url: str, fake_providers: FakeProviders, tmp_path: Path) -> AsyncIterator[Services]:
    """The services of one process, without a worker."""
    async with open_services(database_url, fake_providers, tmp_path) as opened:
        yield opened
