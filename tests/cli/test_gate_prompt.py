"""The prompt at a gate of `myloware make`."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminals import Terminal, settings_of

from cli.gate_prompt import COMMANDS, GatePrompt, InputError, parse_line
from tests.app import App, SandboxClient

PROMPT = "or help:"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("yes", ("approve", "")),
        ("  APPROVE ", ("approve", "")),
        ("keep 1 3", ("keep", "1 3")),
        ("reject", ("reject", "")),
        ("change fog", ("change", "fog")),
        ("More fog", ("change", "More fog")),
        ("no, more rain please", ("change", "no, more rain please")),
    ],
)
def test_a_line_is_a_command_or_a_sentence(line: str, expected: tuple[str, str]) -> None:
    """A sentence that starts with no command requests changes."""
    assert parse_line(line, "ideation") == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "Nothing was decided."),
        ("no", "Type reject to end the run"),
        ("N", "Type reject to end the run"),
        ("ye", "Did you mean yes?"),
        ("aprove", "Did you mean approve?"),
        ("rejct it all", "Did you mean reject?"),
        ("fog", "start with: change"),
        ("reject the second one", "Type it as: reject"),
        ("yes please", "Type it as: approve"),
        ("keep", "Type it as: keep 1 3"),
        ("caption Rain", "works only at the publish gate"),
    ],
)
def test_a_line_that_may_be_a_mistake_decides_nothing(line: str, message: str) -> None:
    """Neither Enter, nor `no`, nor a typing error, nor a command of the other gate."""
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        parse_line(line, "ideation")


def test_every_command_is_implemented() -> None:
    """The help lists only commands that work."""
    assert [name for name in COMMANDS if not hasattr(GatePrompt, f"_{name}")] == []


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_film_is_decided_by_commands(app: App, sandbox: SandboxClient, tmp_path: Path) -> None:
    """Ideas are edited and dropped, a sample and another take are ordered after their price, the caption is edited."""
    # Typed before the gate opens: it is no answer to what is shown then.
    terminal = Terminal("make", "--project", "pair", "Rain on a quiet window", cwd=tmp_path, **settings_of(app))
    terminal.until("run ")
    terminal.send("yes\n")
    run_id = terminal.until("\n").strip()
    terminal.until(PROMPT)

    def count() -> tuple[int, int]:
        return len(app.rows("select * from decisions where run_id = %s", run_id)), len(sandbox.charges(run_id))

    terminal.answer("", "Nothing was decided.")
    terminal.answer("ye", "Did you mean yes?")
    terminal.answer("help", "sample 1 ")
    assert "Stay inside" in terminal.answer("edit 1 overlay Stay inside", "2 clips for 0.40 USD")
    terminal.answer("edit 1 overlay 漢字", "edits.")
    terminal.answer("keep 2 1", "2 clips for 0.40 USD")
    terminal.answer("drop 2", "1 clips for 0.20 USD")
    terminal.answer("approve", "the minimum is")
    terminal.answer("reset", "2 clips for 0.40 USD")
    terminal.answer("sample 9", "sample: choose from")
    terminal.answer("edit 2 overlay Stay inside", "2 clips for 0.40 USD")
    terminal.answer("sample 1", "Order clip 1 for 0.20 USD")
    terminal.answer("no", "Nothing was ordered.")
    assert count() == (0, 0)

    terminal.answer("sample 1", "Order clip 1 for 0.20 USD")
    assert "Stay inside" in terminal.answer("yes", "1 clips for 0.20 USD")
    assert count() == (1, 1)
    terminal.answer("yes", "clip 2, take 1")
    terminal.until(PROMPT)
    terminal.answer("caption Rain, all night.", "Rain, all night.")
    terminal.answer("hashtags #stay", "#stay")
    terminal.answer("take 2 7", "The takes are clip 1: 1; clip 2: 1.")
    terminal.answer("redo 9", "The film has no clip 9")
    terminal.answer("redo 2 too dark", "1 clip for 0.20 USD")
    terminal.answer("no", "Nothing was ordered.")
    assert count() == (2, 2)
    terminal.answer("redo 2 too dark", "1 clip for 0.20 USD")
    terminal.answer("yes", "clip 2, take 2")
    terminal.until(PROMPT)
    terminal.answer("take 2 1", "clip 2 gets take 1")
    terminal.answer("approve", "type render")
    terminal.answer("schedule tomorrow", "must be a time with its zone")
    terminal.answer("schedule 2026-12-01T18:00+01:00", "Scheduled for 2026-12-01 17:00 UTC.")
    terminal.answer("change more rain", "`publish_at` requires an approval")
    terminal.answer("reset", PROMPT)
    terminal.send("approve\n")

    assert terminal.wait(120) == 0, terminal.output
    assert "completed" in terminal.output
    rows = app.rows("select * from decisions where run_id = %s order by number", run_id)
    decided = [(row["verdict"], row["sample"], row["clips"]) for row in rows]
    notes = [{"clip": 2, "comment": "too dark"}]
    assert decided == [
        ("approve", [1], None),
        ("approve", None, None),
        ("revise", None, notes),
        ("approve", None, None),
    ]
    assert {(row["channel"], row["actor_kind"]) for row in rows} == {("cli", "local")}
    publication = app.run(run_id)["artifacts"]["publication"]
    assert (publication["caption"], publication["hashtags"]) == ("Rain, all night.", ["#stay"])
    assert len(sandbox.charges(run_id)) == 3
