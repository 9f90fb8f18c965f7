"""Several commands on one data folder: whatever runs beside the server, the keys of its clients go on working."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from terminals import MYLOWARE, environment, run_command

from tests.app import TINY_PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
KEY = "7fQz0pVbR2sXk9LtYcNw4hJd"


@contextmanager
def running(*command: str, cwd: Path, until: str, **settings: str) -> Iterator[str]:
    """Run a command of `myloware` until the block ends; yields what it printed up to the line with `until`."""
    process = subprocess.Popen(
        [str(MYLOWARE), *command], cwd=cwd, env=environment(**settings), stdout=subprocess.PIPE, text=True
    )
    printed = ""
    try:
        assert process.stdout is not None
        while until not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        yield printed
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a project that is quick to make, in which every command runs."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "tiny.md").write_text(TINY_PROJECT.replace("180x320", "720x1280"))
    return tmp_path


def test_no_other_command_changes_the_keys_of_the_server(folder: Path) -> None:
    """`serve` with keys; then a worker, `runs list`, `doctor` and `make demo` without: the clients' keys still work."""
    settings = {"MYLOWARE_PROJECTS_DIR": str(folder / "projects"), "MYLOWARE_DATA_DIR": str(folder / "data")}
    serve = ("serve", "--port", "0", "--no-worker")
    with running(*serve, cwd=folder, until="running at", MYLOWARE_API_KEYS=KEY, **settings) as printed:
        url = re.findall(r"http://[0-9.:]+", printed)[0]

        def status() -> int:
            return httpx.get(f"{url}/v1/runs", headers={"X-API-Key": KEY}).status_code

        assert ("API key" in printed, status()) == (False, 200)
        with running("worker", cwd=folder, until="The worker is running", **settings) as output:
            listed = run_command("runs", "list", cwd=folder, **settings)
            examined = run_command("doctor", cwd=folder, **settings)
            film = subprocess.run(
                ["make", "demo", "BRIEF=A calm sea at night", "PROJECT=tiny"],
                cwd=ROOT,
                env=environment(**settings),
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
            )
            assert (listed.returncode, examined.returncode, film.returncode) == (0, 0, 0), film.stderr
            assert status() == 200
            assert "API key" not in output + listed.stdout + examined.stdout + film.stdout + film.stderr
    # Without keys in its settings, `serve` changes and generates none either.
    with running(*serve, cwd=folder, until="running at", **settings) as printed:
        url = re.findall(r"http://[0-9.:]+", printed)[0]
        assert ("API key" in printed, status()) == (False, 200)


def test_nothing_in_the_data_folder_is_open_to_others_and_no_secret_is_in_ps(folder: Path) -> None:
    """Folders that an earlier version left open are closed, and new ones are private."""
    for name in ("films", "scratch", "sandbox"):
        (folder / "data" / name).mkdir(parents=True, mode=0o755)
    settings = {"MYLOWARE_PROJECTS_DIR": str(folder / "projects"), "MYLOWARE_DATA_DIR": str(folder / "data")}
    with running("serve", "--port", "0", cwd=folder, until="running at", MYLOWARE_API_KEYS=KEY, **settings):
        secret = re.findall(r"whsec_[^\"]+", (folder / "data/sandbox/endpoint.json").read_text())[0]
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]

        assert any(b"sandbox" in command for command in commands)
        assert not [command for command in commands if secret.encode() in command or KEY.encode() in command]
        open_to_others = [
            path for path in [folder / "data", *(folder / "data").iterdir()] if path.stat().st_mode & 0o077
        ]
        assert open_to_others == []
        assert {(folder / "data" / name).stat().st_mode & 0o777 for name in ("films", "scratch", "sandbox")} == {0o700}
