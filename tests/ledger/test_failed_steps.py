"""A run with an unexpected error fails for a person, and continues after a fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from providers.base import Unavailable
from runs.advance import advance
from runs.projections import MAX_ATTEMPTS, MAX_OUTAGE_ATTEMPTS
from runs.run_requests import retry_run
from storage import runs as table
from tests.graph.fakes import QueuedModel
from tests.ledger.fake_provider import ANNA, FakeProviders, new_run, open_services


class BrokenModel(QueuedModel):
    """A model with a defect in its client."""

    def _generate(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("trio")


async def test_unexpected_error_fails_the_run_after_the_last_attempt(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After the last attempt the run has failed with an internal error; after a fix it is retried."""
    async with open_services(database_url, fake_providers, tmp_path, model=BrokenModel()) as broken:
        run = await new_run(broken.db)
        for _ in range(MAX_ATTEMPTS):
            await advance(broken, run)
        row = await table.get_run(broken.db, run)
    async with open_services(database_url, fake_providers, tmp_path) as fixed:
        await retry_run(fixed, UUID(run), context=ANNA)
        await advance(fixed, run)
        again = await table.get_run(fixed.db, run)

    assert row is not None
    assert again is not None
    assert (row.status, row.error) == (
        "failed",
        {
            "code": "internal_error",
            "message": "Internal error. The details are in the server log.",
            "retryable": True,
        },
    )
    assert "RuntimeError" in caplog.text
    assert again.status == "awaiting_ideation_approval"


class SilentModel(QueuedModel):
    """A model server that refuses connections."""

    def _generate(self, *args: Any, **options: Any) -> Any:
        raise Unavailable("model_unavailable", "The language model cannot be reached.")


async def test_outage_of_the_model_does_not_fail_the_run(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path
) -> None:
    """It waits for as long as it takes to request attention, and longer; about a day later it fails."""
    async with open_services(database_url, fake_providers, tmp_path, model=SilentModel()) as services:
        run = await new_run(services.db)
        for _ in range(20):
            await advance(services, run)
        waiting = await table.get_run(services.db, run)
        await services.db.execute("update runs set attempts = %s where id = %s", (MAX_OUTAGE_ATTEMPTS - 1, run))
        await advance(services, run)
        ended = await table.get_run(services.db, run)

    assert waiting is not None
    assert ended is not None
    assert (waiting.status, waiting.attempts) == ("running", 20)
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["code"] == "model_unavailable"


async def test_wakeup_of_a_retried_run_is_kept(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path
) -> None:
    """A process that saw the run as failed a moment ago does not clear the wake-up of its retry."""
    async with open_services(database_url, fake_providers, tmp_path) as services:
        run = await new_run(services.db)
        await table.clear_wakeup(services.db, run)
        active = await table.get_run(services.db, run)
        await services.db.execute("update runs set status = 'failed' where id = %s", (run,))
        await table.clear_wakeup(services.db, run)
        ended = await table.get_run(services.db, run)

    assert active is not None
    assert ended is not None
    assert active.next_wakeup_at is not None
    assert ended.next_wakeup_at is None
