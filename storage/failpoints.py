"""Named points that the program passes: where a crash would hurt most. Passing one costs a call of nothing.

A crash harness puts a `hook` here in a process of its own and stops the process at the point it wants; the product
never sets one.
"""

from __future__ import annotations

from collections.abc import Callable

hook: Callable[[str], None] | None = None


def hit(point: str) -> None:
    """The program is at this point, for example `submit.before` or `checkpoint.after`."""
    if hook is not None:
        hook(point)
