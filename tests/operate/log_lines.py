"""Collect log lines as the product writes them, as JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from telemetry.logs import PACKAGES, LineFormatter


class Lines:
    """The lines of a block."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def all(self) -> list[dict[str, Any]]:
        """Return every line so far."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@contextmanager
def collected(secrets: Collection[str] = ()) -> Iterator[Lines]:
    """Collect what the packages log in the block, from `info` on."""
    lines = Lines()
    handler = logging.StreamHandler(lines.stream)
    handler.setFormatter(LineFormatter(is_json=True, secrets=secrets))
    loggers = [logging.getLogger(name) for name in PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
