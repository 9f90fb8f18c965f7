"""Fork server: imports MyloWare once and forks a process for each launch request, which saves the import time.

It reads launch requests from standard input and writes process events to standard output, one JSON object per line.
A forked process runs the same code as the command line, with three differences: it stops itself at the failpoints of
its launch request, its films are small, and publications are looked up for a shorter time, so that a hundred runs take
minutes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from api.settings import read_settings
from cli.serve import serve, work
from providers.publications.upload_post import UploadPost
from providers.renders.manifest import Manifest
from storage import failpoints
from tests.chaos.options import Role, Stop

LOG_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class LaunchRequest:
    """Request to fork a process.

    Attributes:
        name: The unique name of the process.
        role: `api` or `worker`.
        port: The port of the API.
        stops: The stops of the process, in order.
        environment: Environment variables, that is the settings.
        log: The file for standard output and standard error.
        drain_file: While this file exists, no stop is executed.
        stop_log: The file that gets one line for each executed stop.
    """

    name: str
    role: Role
    port: int
    stops: Sequence[Stop]
    environment: dict[str, str]
    log: str
    drain_file: str
    stop_log: str

    @classmethod
    def parse(cls, line: bytes) -> LaunchRequest:
        """Return the request of a line of JSON."""
        fields = json.loads(line)
        return cls(**fields | {"stops": [Stop(**stop) for stop in fields["stops"]]})


def main() -> None:
    """Fork a process for each launch request and report when it starts, stops and exits, until input ends."""
    _use_test_limits()
    buffer = b""
    while True:
        _report_children()
        if not select.select([0], [], [], 0.05)[0]:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            request = LaunchRequest.parse(line)
            pid = os.fork()
            if pid == 0:
                _run_process(request)
            _write_event(event="started", name=request.name, pid=pid)


def _report_children() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if os.WIFSTOPPED(status):
            _write_event(event="stopped", pid=pid)
        else:
            _write_event(event="exited", pid=pid, code=os.waitstatus_to_exitcode(status))


def _write_event(**event: Any) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def _run_process(request: LaunchRequest) -> None:
    """Run the API or a worker in this process, then exit. Never returns."""
    exit_code = 1
    try:
        os.setsid()
        log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(request.environment)
        logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
        settings = read_settings()
        failpoints.hook = failpoint_hook(request)
        if request.role == "api":
            asyncio.run(serve(settings, "127.0.0.1", request.port, with_worker=False))
        else:
            asyncio.run(work(settings))
        exit_code = 0
    except BaseException:
        logging.exception("the process failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


def failpoint_hook(request: LaunchRequest) -> Callable[[str], None] | None:
    """Return the hook that executes the stops of a launch request, or None if it has none."""
    if not request.stops:
        return None
    stops = list(request.stops)
    drain_file, stop_log = Path(request.drain_file), Path(request.stop_log)
    armed_since = time.monotonic()

    def hit(failpoint: str) -> None:
        nonlocal armed_since
        waited = time.monotonic() - armed_since
        if not stops or waited < stops[0].after_seconds:
            return
        if failpoint != stops[0].failpoint and waited < stops[0].after_seconds + stops[0].fallback_seconds:
            return
        if drain_file.exists():
            stops.clear()
            return
        stop = stops.pop(0)
        armed_since = time.monotonic()
        entry = {"at": time.time(), "name": request.name, "pid": os.getpid(), "failpoint": failpoint}
        with stop_log.open("a") as file:
            file.write(json.dumps(entry | {"signal": stop.signal}) + "\n")
        os.kill(os.getpid(), signal.Signals[stop.signal])

    return hit


def _use_test_limits() -> None:
    """Render small films, and declare a publication not found after 12 seconds."""
    Manifest.model_fields["width"].default = 360
    Manifest.model_fields["height"].default = 640
    Manifest.model_rebuild(force=True)
    UploadPost.lookup_window = timedelta(seconds=12)


if __name__ == "__main__":
    main()
