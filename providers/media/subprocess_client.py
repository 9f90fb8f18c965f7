"""Run media work in an isolated subprocess and wait for its result."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path

from providers.base import Json, Progress, ProviderError

log = logging.getLogger(__name__)

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_INHERITED_VARIABLES = ("PATH", "LANG", "LC_ALL")


class SubprocessDied(Exception):
    """The subprocess exited without a result. `signal` is the signal that killed it, else None."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"subprocess exited with {exit_code}")
        self.signal = -exit_code if exit_code < 0 else None


async def run_in_subprocess(
    module: str,
    request: Json,
    *,
    work_dir: Path,
    limit_seconds: float,
    progress: Progress | None = None,
) -> Json:
    """Send the request to `python -m module` (see `subprocess_worker`) and return its result.

    The subprocess works in the folder `work_dir`, in a session of its own, without the environment of this
    process. It is killed with all its children after `limit_seconds`, on cancellation, and when this process dies.

    Raises the ProviderError of the subprocess, SubprocessDied without a result, TimeoutError after the limit.
    """
    line = json.dumps({**request, "work_dir": str(work_dir), "cpu_seconds": int(4 * limit_seconds) + 10})
    with (work_dir / "stderr").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            cwd=_PROJECT_ROOT,
            env=_build_environment(work_dir),
        )
    try:
        async with asyncio.timeout(limit_seconds):
            response = await _exchange(process, line, progress)
            exit_code = await process.wait()
    finally:
        await _terminate(process)
    if "result" in response:
        result: Json = response["result"]
        return result
    if "code" in response:
        raise ProviderError(response["code"], response["message"])
    tail = (work_dir / "stderr").read_bytes()[-2000:].decode(errors="replace")
    log.warning("Subprocess %s exited with %d without a result: %s", module, exit_code, tail)
    raise SubprocessDied(exit_code)


async def _exchange(process: asyncio.subprocess.Process, line: str, progress: Progress | None) -> Json:
    """Write the request, read messages until the subprocess closes its output, and return the last response."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    with contextlib.suppress(ConnectionError):
        process.stdin.write(line.encode() + b"\n")
        await process.stdin.drain()
    response: Json = {}
    async for message_line in process.stdout:
        message = json.loads(message_line)
        if "progress" not in message:
            response = message
        elif progress is not None:
            await progress(message["progress"])
    return response


async def _terminate(process: asyncio.subprocess.Process) -> None:
    """Kill the process group if it is still running, and release its pipes."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.stdin.close()
    await process.stdout.read()
    await process.wait()


def _build_environment(work_dir: Path) -> dict[str, str]:
    """Return the environment of the subprocess. It contains no secrets."""
    inherited = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    return {
        **inherited,
        "HOME": str(work_dir),
        "TMPDIR": str(work_dir),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
