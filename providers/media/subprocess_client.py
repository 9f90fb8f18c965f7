"""Run media work in an isolated subprocess and wait for its result."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from providers.base import Json, Progress, Unusable, disk_unwritable

log = logging.getLogger(__name__)

CRASH_SIGNALS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS, signal.SIGILL)
_PROJECT_ROOT = Path(__file__).resolve().parents[2]


class SubprocessDied(Exception):
    """The subprocess exited without a result. `signal` is the signal that killed it, else None."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"subprocess exited with {exit_code}")
        self.signal = -exit_code if exit_code < 0 else None
        #: Whether the file crashed a decoder or an encoder: another attempt would end in the same way.
        self.is_crash = self.signal in CRASH_SIGNALS


@contextlib.contextmanager
def create_work_folder(into: Path) -> Iterator[Path]:
    """Create a folder for a subprocess inside `into`, and remove it at the end of the block."""
    with tempfile.TemporaryDirectory(prefix=".media-", dir=into.resolve(), ignore_cleanup_errors=True) as name:
        yield Path(name)


async def run_in_subprocess(
    module: str, request: Json, *, work_dir: Path, limit_seconds: float, progress: Progress | None = None
) -> Json:
    """Send the request to `python -m module` (see `subprocess_worker`) and return its result.

    The subprocess works in the folder `work_dir`, in a session of its own, without the environment of this
    process. It is killed with all its children after `limit_seconds`, on cancellation, and when this process dies.

    Raises Unusable with the error of the subprocess, Unavailable for a disk that cannot be written, SubprocessDied
    without a result, TimeoutError after the limit.
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
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        async with asyncio.timeout(limit_seconds):
            response = await _exchange(process.stdin, process.stdout, line, progress)
            exit_code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        await process.stdout.read()  # releases the pipe
        await process.wait()
    if exit_code:
        tail = (work_dir / "stderr").read_bytes()[-2000:].decode(errors="replace")
        log.warning("Subprocess %s exited with %d: %s", module, exit_code, tail)
    if "result" in response:
        result: Json = response["result"]
        return result
    if "disk" in response:
        raise disk_unwritable("MYLOWARE_DATA_DIR", OSError(response["disk"], os.strerror(response["disk"])))
    if "code" in response:
        raise Unusable(response["code"], response["message"])
    raise SubprocessDied(exit_code)


async def _exchange(
    stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader, line: str, progress: Progress | None
) -> Json:
    """Write the request, read messages until the subprocess closes its output, and return the last response."""
    with contextlib.suppress(ConnectionError):
        stdin.write(line.encode() + b"\n")
        await stdin.drain()
    response: Json = {}
    async for message_line in stdout:
        message = json.loads(message_line)
        if "progress" not in message:
            response = message
        elif progress is not None:
            await progress(message["progress"])
    return response


def _build_environment(work_dir: Path) -> dict[str, str]:
    """Return the environment of the subprocess. It contains no secrets."""
    return {
        **{name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "XDG_DATA_DIRS") if name in os.environ},
        **dict.fromkeys(("HOME", "TMPDIR"), str(work_dir)),
        **dict.fromkeys(("OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"), "1"),
    }
