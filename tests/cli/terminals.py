"""Commands in a terminal of their own, and in this process."""

from __future__ import annotations

import codecs
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from typer.testing import CliRunner

from cli.main import app as program
from tests.app import ANNA, App
from tests.cli.command_server import Command

MYLOWARE = Path(sys.executable).with_name("myloware")
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")


def environment(**settings: str) -> dict[str, str]:
    """Return an environment without settings except these."""
    return {**{name: os.environ[name] for name in INHERITED if name in os.environ}, "COLUMNS": "200", **settings}


def settings_of(app: App) -> dict[str, str]:
    """Return the environment of a command that uses the database of an app."""
    return {
        "DATABASE_URL": app.dsn,
        "MYLOWARE_DATA_DIR": str(app.settings.data_dir),
        "MYLOWARE_PROJECTS_DIR": str(app.settings.projects_dir),
        "MYLOWARE_API_KEYS": ANNA,
        "VIDEO_PROFILES": str(app.settings.video_profiles),
        "VIDEO_BASE_URL": app.sandbox.url,
        "VIDEO_MODEL": "sandbox-video",
        "VIDEO_API_KEY": "sandbox",
        "OPENAI_BASE_URL": app.sandbox.url,
        "OPENAI_API_KEY": "sandbox",
        "OPENAI_MODEL": "sandbox-rules",
        "UPLOAD_POST_URL": app.sandbox.url,
        "UPLOAD_POST_API_KEY": "sandbox",
    }


def run_command(
    *arguments: str, cwd: Path, program: Path | None = None, seconds: float = 120, answer: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the command, or another program, and return its output and status."""
    if program is not None:
        command, environs = [str(program), *arguments], environment(**settings)
        return subprocess.run(
            command, cwd=cwd, env=environs, input=answer, capture_output=True, text=True, timeout=seconds, check=False
        )
    with TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        for path in streams:
            path.write_text(answer if path.name == "stdin" else "")
        running = Command(
            list(arguments), cwd=cwd, environment=environment(**settings), streams=[str(path) for path in streams]
        )
        try:
            status = running.wait(seconds)
        except TimeoutError:
            running.kill()
            raise
        return subprocess.CompletedProcess(arguments, status, *(path.read_text() for path in streams[1:]))


class Here:
    """Runs commands in this process, with the settings of an app."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        for name in set(os.environ) - set(INHERITED):
            monkeypatch.delenv(name)
        for name, value in settings_of(app).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder)

    def run(self, *arguments: str, status: int = 0, answer: str = "") -> str:
        """Return the standard output of a command that exits with `status`; for another status, its errors."""
        result = CliRunner().invoke(program, arguments, input=answer)
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.stderr


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, *arguments: str, cwd: Path, **settings: str) -> None:
        self._fd, inside = pty.openpty()
        # Without an echo, everything that is read was printed by the program.
        modes = termios.tcgetattr(inside)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(inside, termios.TCSANOW, modes)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.process = Command(
            list(arguments), cwd=cwd, environment=environment(TERM="dumb", **settings), streams=[os.ttyname(inside)]
        )
        os.close(inside)
        self.output = ""

    def send(self, text: str) -> None:
        """Type a text."""
        os.write(self._fd, text.encode())

    def until(self, text: str, seconds: float = 90) -> str:
        """Wait until the text is printed; return what was printed before it since the last call."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if not self._read() or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"{text!r} was not printed:\n{self.output}")
        before, _, self.output = self.output.partition(text)
        return before

    def answer(self, line: str, expected: str) -> str:
        """Type a line and wait for its effect and the next prompt; return what was printed before the effect."""
        self.send(f"{line}\n")
        return self.until(expected)

    def wait(self, seconds: float = 120) -> int:
        """Return the status of the command when it has ended."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, f"still running:\n{self.output}"
        self.close()
        return self.process.wait(seconds)

    def close(self) -> None:
        """Close the terminal, whose program gets SIGHUP."""
        os.close(self._fd)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def _read(self) -> bool:
        """Read what was printed within a short time; return False at the end."""
        if select.select([self._fd], [], [], 0.2)[0]:
            try:
                self.output += self._decoder.decode(os.read(self._fd, 65536)).replace("\r", "")
            except OSError:  # all processes of the terminal have ended
                return False
        return True


def processes_of(folder: Path) -> list[str]:
    """Return the processes that run in this folder or name it, such as a Postgres server or a sandbox."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([process.cwd(), *process.cmdline()]):
                found.append(f"{process.name()} {process.cmdline()}")
        except psutil.Error:
            continue
    return found
