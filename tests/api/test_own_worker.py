"""The worker of `myloware make` works on the run of its process only."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from runs.worker import run_worker
from tests.app import App, SandboxClient


@pytest.mark.slow
def test_own_worker_leaves_other_runs_alone(quiet_app: App, sandbox: SandboxClient) -> None:
    """A run that another process started stays where it is, due for another worker; the own run reaches its end."""
    other = quiet_app.start("A heron in the reeds")
    stack, state = AsyncExitStack(), quiet_app.state
    own = quiet_app.start("A lighthouse in fog")
    quiet_app.in_loop(stack.enter_async_context(run_worker(state.services, only=own)))
    try:
        quiet_app.complete(own)
    finally:
        quiet_app.in_loop(stack.aclose())

    assert quiet_app.run(other)["status"] == "pending"
    assert quiet_app.rows("select driver from runs where id = %s", other) == [{"driver": None}]
    assert quiet_app.rows("select id::text from runs where next_wakeup_at <= now()") == [{"id": other}]
    assert len(sandbox.charges(own)) == 1
