"""`myloware projects rules`: a person proposes, approves a diff and removes a rule at the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from terminals import Here

from tests.app import App


@pytest.fixture
def here(app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(app, monkeypatch, tmp_path)


@pytest.mark.slow
def test_rules_at_the_terminal(app: App, here: Here) -> None:
    """The digest that approves is printed with the diff; rules are removed by their numbers."""
    run_id = app.start("A lamp in fog")
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation", approved=False, comment="No hands")
    command = ("projects", "rules", "tiny")
    proposed = here.run(*command, "--propose")
    assert "+ No hands" in proposed
    digest = proposed.partition("--approve ")[2].strip()

    assert "not those that were shown" in here.run(*command, "--approve", "0" * 12, status=1)
    assert "1. No hands" in here.run(*command, "--approve", digest)
    assert "not those that were shown" in here.run(*command, "--remove", "2", status=1)
    removed = json.loads(here.run(*command, "--remove", "1", "--json"))
    assert (removed["rules"], removed["proposed"]) == ([], None)
