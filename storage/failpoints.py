"""Failpoints: named points of the program at which a crash would be most harmful.

A crash test, or `make demo KILL=1`, sets `hook` in a process of its own and stops the process at a chosen point. No
other command sets it, and no setting does.
"""

from collections.abc import Callable

hook: Callable[[str], None] | None = None


def hit(point: str) -> None:
    """Report that the program is at `point`, for example `submit.before` or `checkpoint.after`."""
    if hook is not None:
        hook(point)
