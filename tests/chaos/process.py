"""The product's processes, and how they die: `python -m tests.chaos.process`, spoken to in lines of JSON.

It loads the program once and forks a process for every line it reads, so that a start costs no second of imports.
A forked process runs the ordinary command. Three things about it are not ordinary: it stops itself at the points
of its plan, its films are small, and it gives up looking for a publication sooner, so that a hundred runs take minutes.
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
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from api.settings import read_settings
from cli.serve import serve, work
from providers.publications.upload_post import UploadPost
from providers.renders.manifest import Manifest
from storage import failpoints


def main() -> None:
    """Fork a process for every order that comes in, and tell of every one that ends, stops or goes on."""
    _smaller_films()
    buffer = b""
    while True:
        _tell_of_children()
        if not select.select([0], [], [], 0.05)[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            return
        *lines, buffer = (buffer + read).split(b"\n")
        for line in lines:
            order = json.loads(line)
            child = os.fork()
            if child == 0:
                _be(order)
            _say({"started": order["name"], "pid": child})


def _tell_of_children() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if os.WIFSTOPPED(status):
            _say({"pid": pid, "stopped": True})
        else:
            _say({"pid": pid, "ended": os.waitstatus_to_exitcode(status)})


def _say(what: dict[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _be(order: dict[str, Any]) -> None:
    """Become the process that was ordered. Never returns."""
    code = 1
    try:
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
        settings = read_settings()
        failpoints.hook = hook(order["plan"], Path(order["calm"]), Path(order["deaths"]), order["name"])
        if order["role"] == "api":
            asyncio.run(serve(settings, "127.0.0.1", order["port"], with_worker=False))
        else:
            asyncio.run(work(settings))
        code = 0
    except BaseException:
        logging.exception("it ended")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def hook(plan: list[dict[str, Any]], calm: Path, deaths: Path, name: str) -> Callable[[str], None] | None:
    """What stops this process at its points: steps of `point`, seconds `after` the last one, and `sign`.

    A step with `within` takes any point that comes when it has waited in vain for so many seconds more.
    """
    if not plan:
        return None
    steps = list(plan)
    since = time.monotonic()

    def reached(point: str) -> None:
        nonlocal since
        waited = time.monotonic() - since
        if not steps or waited < steps[0]["after"]:
            return
        if point != steps[0]["point"] and waited < steps[0]["after"] + steps[0].get("within", 1e9):
            return
        if calm.exists():
            steps.clear()
            return
        step = steps.pop(0)
        since = time.monotonic()
        line = json.dumps({"at": time.time(), "name": name, "pid": os.getpid(), "point": point, "sign": step["sign"]})
        with deaths.open("a") as file:
            file.write(line + "\n")
        os.kill(os.getpid(), signal.Signals[step["sign"]])

    return reached


def _smaller_films() -> None:
    Manifest.model_fields["width"].default = 360
    Manifest.model_fields["height"].default = 640
    Manifest.model_rebuild(force=True)
    UploadPost.lookup_window = timedelta(seconds=12)


if __name__ == "__main__":
    main()
