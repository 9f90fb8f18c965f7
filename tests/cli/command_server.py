"""Commands as processes that are forked from one with the program's modules loaded, which takes seconds each time.

A command has its own process, environment, folder and standard streams, as from a shell.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import random
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cli
from cli.output import stderr, stdout


class Command:
    """A running command. `streams` are the paths of its standard input, output and error, or the path of a terminal."""

    def __init__(self, arguments: list[str], *, cwd: Path, environment: dict[str, str], streams: list[str]) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_start_server())
        request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "streams": streams}
        self._answers = self._connection.makefile("rw")
        self._answers.write(json.dumps(request) + "\n")
        self._answers.flush()
        self.pid = int(self._answers.readline())

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the command has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the command."""
        self.send_signal(signal.SIGKILL)

    def wait(self, seconds: float) -> int:
        """Return the status of the command when it has ended, negative for a signal. Raises TimeoutError."""
        self._connection.settimeout(seconds)
        with self._connection, self._answers:
            return int(self._answers.readline())

    def __del__(self) -> None:
        self._answers.close()  # of a command that was not waited for
        self._connection.close()


@cache
def _start_server() -> str:
    """Start the server of this process, which ends with it; return the path of its socket."""
    path = f"{mkdtemp(prefix='myloware-commands-')}/socket"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.cli.command_server", path]
    root = Path(cli.__file__).parents[1]
    server = subprocess.Popen(
        command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    atexit.register(server.communicate)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return path


def _serve(path: str) -> Any:
    """Fork a process for each request until standard input closes. Returns the request in the process of a command."""
    for module in pkgutil.iter_modules(cli.__path__, "cli."):
        importlib.import_module(module.name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    if os.fork():  # ends with the tests, and the server with it
        print("ready", flush=True)
        sys.stdin.read()
        os.killpg(0, signal.SIGTERM)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            break
        connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listener.close()
    with connection, connection.makefile("rw") as answers:
        request = json.loads(answers.readline())
        opening, has_opened = os.pipe()
        if not (pid := os.fork()):
            return request | {"has_opened": has_opened}
        os.close(has_opened)
        os.read(opening, 1)  # ends when the process has opened its streams: a terminal that nobody has open is gone
        print(pid, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)
    os._exit(0)


def _become(request: Any) -> None:
    """Make this process that of the command."""
    streams = [os.open(path, os.O_RDWR) for path in request["streams"]]
    os.close(request["has_opened"])
    if len(streams) == 1:
        os.login_tty(streams[0])
    else:
        os.setpgid(0, 0)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    stdout.width = stderr.width = int(os.environ["COLUMNS"])  # read when the consoles were made
    sys.argv = [str(Path(sys.executable).with_name("myloware")), *request["arguments"]]
    random.seed()


if __name__ == "__main__":
    _become(_serve(sys.argv[1]))
    from cli.main import app

    app()
