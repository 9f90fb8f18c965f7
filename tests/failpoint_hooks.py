"""Hooks of failpoints for one thread: other fixtures' applications, which run in this process too, are left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable

from storage import failpoints


def set_hook(action: Callable[[str], None], thread: threading.Thread | None = None) -> None:
    """Call the action at every failpoint that the thread reaches, by default the one that calls this."""
    target = thread or threading.current_thread()

    def hook(point: str) -> None:
        if threading.current_thread() is target:
            action(point)

    failpoints.hook = hook
