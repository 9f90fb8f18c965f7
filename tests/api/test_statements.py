"""Requests that clients repeat take few statements."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.app import App


def statements_of(app: App, request: Callable[[], httpx.Response]) -> int:
    """Return how often a successful request takes a connection from the pool: once for each statement."""
    pool = app.state.services.db.pool
    counts = []
    for _ in range(3):  # wake-ups are sent in the background after a start
        before = pool.get_stats().get("requests_num", 0)
        assert request().status_code == 200
        counts.append(pool.get_stats()["requests_num"] - before)
    return min(counts)


@pytest.mark.parametrize(("path", "most"), [("/v1/runs/{}", 2), ("/v1/runs?limit=20", 2)])
def test_reading_takes_few_statements(quiet_app: App, path: str, most: int) -> None:
    """One for the key and the rate limit, and one for what is read; for a list as for one run."""
    run_id, *_ = [quiet_app.start(f"Rain {number}") for number in range(5)]

    assert statements_of(quiet_app, lambda: quiet_app.client.get(path.format(run_id))) <= most
