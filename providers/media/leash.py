"""The child's side of media work: it lives within limits, and no longer than the one who asked."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

from providers.base import ProviderError

Order = dict[str, Any]
Progress = Callable[[float], None]

MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_OPEN_FILES = 256
MAX_MEMORY_BYTES = 6 * 1024**3  # address space, much of which is never touched
_TELL_EVERY = 0.25


def work(do: Callable[[Order, Progress], dict[str, Any]]) -> None:
    """Read one order (a line of JSON) from standard input, do it, and tell the answer as lines of JSON.

    The lines are `{"progress": 0..1}`, then `{"done": …}` or, where a ProviderError says why it cannot be
    done, `{"code": …, "message": …}`. Anything else that goes wrong ends the process with its traceback.
    Standard input staying open is the leash: when it closes, the work folder is removed and the process ends.
    """
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    order = json.loads(_line())
    _limit(cpu_seconds=int(order["cpu_seconds"]))
    threading.Thread(target=_die_with_parent, args=(order["work"],), daemon=True).start()

    def tell(answer: dict[str, Any]) -> None:
        os.write(answers, json.dumps(answer).encode() + b"\n")

    told = 0.0

    def progress(share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_EVERY:
            told = time.monotonic()
            tell({"progress": round(share, 4)})

    try:
        done = do(order, progress)
    except ProviderError as error:
        tell({"code": error.code, "message": error.message})
    else:
        tell({"done": done})


def _line() -> bytes:
    # Not through sys.stdin: its buffer would hold a lock while the leash is watched.
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65_536)
        if not more:
            break
        line += more
    return line


def _die_with_parent(folder: str) -> None:
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _limit(*, cpu_seconds: int) -> None:
    os.nice(5)
    for what, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        # A system that knows no such limit, or has a lower one, is no reason not to work.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))
