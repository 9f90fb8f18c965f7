"""The asker's side of media work: one child process, watched, and gone when we are done with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from providers.base import ProviderError

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_PASSED_ON = ("PATH", "LANG", "LC_ALL")


class ChildDied(Exception):
    """The child ended without an answer. `signal` is what ended it, if a signal did."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the child ended with {code}")
        self.signal = -code if code < 0 else None


async def ask(
    module: str,
    order: dict[str, Any],
    *,
    work: Path,
    limit_seconds: float,
    progress: Callable[[float], Awaitable[None]] | None = None,
) -> dict[str, Any]:
    """Have `python -m module` do the order, and return its answer.

    The child works in the folder `work`, in a session of its own, and knows nothing of our environment. It is
    killed with all it started when `limit_seconds` are over, when we are cancelled, and when this process dies.

    Raises ProviderError as told by the child, ChildDied without an answer, TimeoutError when it takes too long.
    """
    line = json.dumps({**order, "work": str(work), "cpu_seconds": int(4 * limit_seconds) + 10})
    with (work / "stderr").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            cwd=_ROOT,
            env=_environment(work),
        )
    try:
        async with asyncio.timeout(limit_seconds):
            answer = await _talk(process, line, progress)
            code = await process.wait()
    finally:
        await _end(process)
    if "done" in answer:
        done: dict[str, Any] = answer["done"]
        return done
    if "code" in answer:
        raise ProviderError(answer["code"], answer["message"])
    tail = (work / "stderr").read_bytes()[-2000:].decode(errors="replace")
    log.warning("%s ended with %d and no answer: %s", module, code, tail)
    raise ChildDied(code)


async def _talk(
    process: asyncio.subprocess.Process, line: str, progress: Callable[[float], Awaitable[None]] | None
) -> dict[str, Any]:
    """Hand over the order and listen until the child has no more to say; its last answer."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    with contextlib.suppress(ConnectionError):
        process.stdin.write(line.encode() + b"\n")
        await process.stdin.drain()
    answer: dict[str, Any] = {}
    async for said in process.stdout:
        told = json.loads(said)
        if "progress" not in told:
            answer = told
        elif progress is not None:
            await progress(told["progress"])
    return answer


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave nothing of the child behind, however the talk ended."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.stdin.close()
    await process.stdout.read()
    await process.wait()


def _environment(work: Path) -> dict[str, str]:
    """What the child may know. No secret of ours is in it."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed,
        "HOME": str(work),
        "TMPDIR": str(work),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
