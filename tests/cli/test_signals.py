"""`myloware make` in a terminal: Ctrl-C and SIGTERM stop it, clean up, and say how to go on."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
from terminals import Terminal, processes_of, run_command

PROMPT = "or help:"


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_signals_stop_at_the_prompt_and_the_run_goes_on(tmp_path: Path) -> None:
    """Each exits at once and leaves no process; `--run` with a prefix goes on with the run."""
    terminal = Terminal("make", "Rain on a window", "--sandbox", cwd=tmp_path)
    terminal.until(PROMPT)
    running = " ".join(processes_of(tmp_path))
    assert ("postgres" in running, "-m sandbox" in running.replace("', '", " ")) == (True, True)
    terminal.send("\x03")

    assert terminal.wait() == 130
    [run_id] = re.findall(r"Go on with: \S*myloware make --sandbox --run ([0-9a-f-]{36})", terminal.output)
    assert processes_of(tmp_path) == []

    terminal = Terminal("make", "--sandbox", "--run", run_id[:8], cwd=tmp_path)
    assert f"run {run_id}" in terminal.until(PROMPT)
    terminal.terminate()

    assert terminal.wait() == 143
    assert f"make --sandbox --run {run_id}" in terminal.output
    assert processes_of(tmp_path) == []

    terminal = Terminal("make", "--sandbox", "--run", run_id, cwd=tmp_path)
    terminal.until(PROMPT)
    terminal.close()

    # 129, unless the end of the input is read before the signal.
    assert terminal.process.wait(60) != 0
    assert processes_of(tmp_path) == []

    # Without a terminal: the end of the input decides nothing.
    ended = run_command("make", "--sandbox", "--run", run_id, cwd=tmp_path, answer="\n")
    assert (ended.returncode, f"make --sandbox --run {run_id}" in ended.stderr) == (1, True)
    rejected = run_command("make", "--sandbox", "--run", run_id, cwd=tmp_path, answer="no\nreject\n")
    assert (rejected.returncode, "Type reject to end the run" in rejected.stderr) == (1, True)
    assert "rejected: A reviewer rejected it" in rejected.stderr
    shutil.rmtree(tmp_path / ".myloware")


@pytest.mark.timeout(200)
@pytest.mark.slow
def test_sigterm_during_the_start_leaves_no_process(tmp_path: Path) -> None:
    """A database that is just being started is stopped as well."""
    terminal = Terminal("make", "Rain on a window", cwd=tmp_path)
    # The folder of the database appears when its creation begins, which takes seconds.
    deadline = time.monotonic() + 60
    while not (tmp_path / ".myloware/postgres").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    terminal.terminate()

    assert terminal.wait() == 143
    assert processes_of(tmp_path) == []
