"""The worker side of a media subprocess: resource limits, one request, and exit with the parent process."""

import contextlib
import errno
import json
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable

from providers.base import Json, ProviderError

ReportProgress = Callable[[float], None]

#: Errors of the disk, for any content of the file.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_OPEN_FILES = 256
MAX_MEMORY_BYTES = 6 * 1024**3  # address space, much of which is never touched
_PROGRESS_INTERVAL_SECONDS = 0.5


def serve_request(handle: Callable[[Json, ReportProgress], Json]) -> None:
    """Read one request (a line of JSON) from standard input, handle it, and write messages to standard output.

    The messages are lines of JSON: `{"progress": 0..1}`, then `{"result": …}` or, for a ProviderError,
    `{"code": …, "message": …}`, or `{"disk": errno}` for a disk that cannot be written.
    Any other exception has the code `media_failed`, because another attempt would fail in the same way, and ends the
    process with its traceback. Without memory there is no message: another attempt can succeed.
    Progress is sent at most twice per second, and never a smaller value than before.
    The parent keeps standard input open: when it closes, the work folder is removed and the process exits.
    """
    output = os.dup(1)
    os.dup2(2, 1)  # a library's prints must not be parsed as messages
    request = json.loads(_read_line())
    _set_limits(cpu_seconds=int(request["cpu_seconds"]))
    threading.Thread(target=_exit_with_parent, args=(request["work_dir"],), daemon=True).start()

    def send(message: Json) -> None:
        os.write(output, json.dumps(message).encode() + b"\n")

    reported_at, reported = -_PROGRESS_INTERVAL_SECONDS, 0.0

    def report_progress(share: float) -> None:
        nonlocal reported_at, reported
        if share > reported and time.monotonic() - reported_at >= _PROGRESS_INTERVAL_SECONDS:
            reported_at, reported = time.monotonic(), share
            send({"progress": round(share, 4)})

    try:
        result = handle(request, report_progress)
    except ProviderError as error:
        send({"code": error.code, "message": error.message})
    except Exception as error:
        if (code := getattr(error, "errno", None)) in DISK_ERRORS:
            return send({"disk": code})
        if isinstance(error, MemoryError):
            raise
        reason = f"The program cannot process this file ({type(error).__name__}; the log has the details)."
        send({"code": "media_failed", "message": reason})
        raise
    else:
        send({"result": result})


def _read_line() -> bytes:
    # Not through sys.stdin: its buffer would hold a lock while the watching thread reads.
    line = b""
    while not line.endswith(b"\n") and (chunk := os.read(0, 65_536)):
        line += chunk
    return line


def _exit_with_parent(work_dir: str) -> None:
    while os.read(0, 1):
        pass
    shutil.rmtree(work_dir, ignore_errors=True)
    os._exit(1)


def _set_limits(*, cpu_seconds: int) -> None:
    os.nice(5)
    for kind, limit in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        # Continue where the system does not support a limit or already has a lower one.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))
