"""A media subprocess for the tests: it does what the request says."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import psutil

from providers.base import ProviderError
from providers.media.subprocess_worker import serve_request


def handle(request, report_progress):
    match request["action"]:
        case "return environment":
            return dict(os.environ)
        case "raise ProviderError":
            raise ProviderError("not_found", "Not found.")
        case "fill the disk":
            with open("/dev/full", "wb") as full:
                full.write(b"frames")
            return {}
        case "crash":
            raise RuntimeError
        case "run out of memory":
            raise MemoryError
        case "be killed":
            os.kill(os.getpid(), signal.SIGKILL)
            return {}
        case "print":
            print("not a message", flush=True)
            return {"printed": True}
        case _:
            report_progress(0.5)
            time.sleep(60)
            return {}


def media_subprocesses() -> list[psutil.Process]:
    """Return the media subprocesses of this process; not its databases or sandboxes."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if "providers." in command or "tests.media.fake_worker" in command:
                found.append(process)
    return found


if __name__ == "__main__":
    serve_request(handle)
