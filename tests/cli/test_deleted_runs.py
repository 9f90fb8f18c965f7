"""`myloware runs delete`: it asks, refuses what has not ended, and has no second effect."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminals import Here

from tests.app import App
from tests.keeping.test_pruning import WORDS, ended_run


@pytest.fixture
def here(quiet_app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(quiet_app, monkeypatch, tmp_path)


def test_a_run_is_deleted_after_a_question(quiet_app: App, here: Here) -> None:
    """Without a yes nothing is changed; with one its words and its file are gone, and again there is nothing to do."""
    app = quiet_app
    run_id, digest = app.in_loop(ended_run(app.state.services, "by command"))
    file = app.settings.data_dir / "artifacts/sha256" / digest[:2] / digest
    command = ("runs", "delete", str(run_id)[:8])
    for answer in ("n\n", ""):
        question = here.run(*command, status=1, answer=answer)
        assert f"Delete the words and files of run {str(run_id)[:8]}? They cannot be restored. [y/N]" in question
        assert "Aborted" in question
    assert (app.run(str(run_id))["brief"], file.exists()) == (WORDS, True)

    assert here.run(*command, answer="y\n").splitlines()[-1] == "deleted: 1 files, 0.0 MB"
    assert here.run(*command, "--yes") == "deleted: 0 files, 0.0 MB\n"
    run = app.run(str(run_id))
    assert (run["brief"].startswith("Pruned on "), run["status"], file.exists()) == (True, "failed", False)
    for name in ("film", "clips", "history", "fork", "retry"):
        assert here.run("runs", name, str(run_id), status=1).startswith("myloware: The run was pruned on "), name
    assert len(app.rows("select 1 from prunings where run_id = %s and actor_id = 'local'", run_id)) == 1


def test_a_run_that_has_not_ended_is_refused(quiet_app: App, here: Here) -> None:
    """One sentence says what to do first, and the run stays as it is."""
    run_id = quiet_app.start("A lamp in fog")
    row = "select status, brief, review, pruned_at from runs where id = %s"
    before = quiet_app.rows(row, run_id)
    message = here.run("runs", "delete", run_id, "--yes", status=1)

    assert message == "myloware: The run has not ended: its status is pending. Cancel it first.\n"
    assert quiet_app.rows(row, run_id) == before


def test_a_run_that_is_needed_is_refused(quiet_app: App, here: Here) -> None:
    """The sentence names the reasons that there are."""
    run_id, _ = quiet_app.in_loop(ended_run(quiet_app.state.services, "needed by command"))
    quiet_app.rows("insert into outbox select id from events where run_id = %s limit 1 returning 1", run_id)
    message = here.run("runs", "delete", str(run_id), "--yes", status=1)

    assert message.startswith("myloware: The run is still needed: ")
    assert quiet_app.run(str(run_id))["brief"] == WORDS


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("bbbbbb", "--yes"), 1, "No run has an id that starts with 'bbbbbb'."),
        (("rain", "--yes"), 1, "'rain' is not a run id."),
        ((), 2, "Missing argument"),
    ],
)
def test_without_a_run_nothing_is_deleted(here: Here, arguments: tuple[str, ...], status: int, message: str) -> None:
    """The exit status is that of the other commands."""
    assert message in " ".join(here.run("runs", "delete", *arguments, status=status).split())
