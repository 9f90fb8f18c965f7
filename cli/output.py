"""Terminal output: the consoles, the name of the program, and the exit with an error message."""

import logging
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)
log = logging.getLogger(__name__)


def print_notice(markup: str, level: int = logging.WARNING) -> None:
    """Print a line to standard error. Where the log is JSON, for a collector, it is a line of the log."""
    from rich.text import Text

    from telemetry.logs import writes_json

    if writes_json():
        log.log(level, "%s", Text.from_markup(markup).plain)
    else:
        stderr.print(markup, soft_wrap=True)


def exit_with_error(message: str) -> NoReturn:
    """Print an error message and exit with status 1."""
    from rich.markup import escape

    print_notice(f"[red]myloware:[/] {escape(message)}", logging.ERROR)
    raise typer.Exit(1)


def program() -> str:
    """Return the program as a person can type it: its name, or the path that it was started by if PATH lacks it."""
    path = Path(sys.argv[0])
    is_on_path = path.name != "myloware" or shutil.which("myloware") == str(path)
    return "myloware" if is_on_path else str(path)
