"""A child for the tests: it does what the order says."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import psutil

from providers.base import ProviderError
from providers.media import leash


def do(order, progress):
    match order["do"]:
        case "tell the environment":
            return dict(os.environ)
        case "refuse":
            raise ProviderError("no_such_thing", "There is no such thing.")
        case "break":
            raise RuntimeError
        case "chatter":
            print("not an answer", flush=True)
            return {"said": True}
        case _:
            progress(0.5)
            time.sleep(60)
            return {}


def ours() -> list[psutil.Process]:
    """The children of this process that do media work; a database or a sandbox beside them is none of ours."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if "providers." in command or "tests.media.children" in command:
                found.append(process)
    return found


if __name__ == "__main__":
    leash.work(do)
