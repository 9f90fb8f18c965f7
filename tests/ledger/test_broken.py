"""A run that meets what nobody thought of is told to a person, and goes on once it is mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from runs.advance import ATTEMPTS, advance
from runs.retry import retry_run
from storage import runs as table
from tests.graph.fakes import QueuedModel
from tests.ledger.fake_provider import FakeProviders, new_run, opened


class Broken(QueuedModel):
    """A model that nobody can ask."""

    def _generate(self, *args: Any, **options: Any) -> Any:
        raise KeyError("trio")


async def test_what_breaks_each_time_is_told(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After some tries the run has failed, as broken inside; mended, it is let go on."""
    async with opened(database_url, fake_providers, tmp_path, model=Broken()) as broken:
        run = await new_run(broken.db)
        for _ in range(ATTEMPTS):
            await advance(broken, run)
        row = await table.get_run(broken.db, run)
    async with opened(database_url, fake_providers, tmp_path) as mended:
        await retry_run(mended, UUID(run), by="anna", channel="api", external_id="mended")
        await advance(mended, run)
        again = await table.get_run(mended.db, run)

    assert row is not None
    assert again is not None
    assert (row["status"], row["error"]) == (
        "failed",
        {
            "code": "internal_error",
            "message": "Something broke inside; it was written to the log.",
            "retryable": True,
        },
    )
    assert "KeyError" in caplog.text
    assert again["status"] == "awaiting_ideation_approval"


async def test_a_run_that_was_let_go_on_is_not_put_to_rest(
    database_url: str, fake_providers: FakeProviders, tmp_path: Path
) -> None:
    """Whoever saw it failed a moment ago must not take away the look that finds it."""
    async with opened(database_url, fake_providers, tmp_path) as services:
        run = await new_run(services.db)
        await table.clear_wakeup(services.db, run)
        going = await table.get_run(services.db, run)
        await services.db.execute("update runs set status = 'failed' where id = %s", (run,))
        await table.clear_wakeup(services.db, run)
        ended = await table.get_run(services.db, run)

    assert going is not None
    assert ended is not None
    assert going["next_look_at"] is not None
    assert ended["next_look_at"] is None
