"""Terminal output: the consoles, the name of the program, and the exit with an error message."""

import shutil
import sys
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def exit_with_error(message: str) -> NoReturn:
    """Print an error message and exit with status 1."""
    stderr.print("[red]myloware:[/]", end=" ")
    stderr.print(message, soft_wrap=True, markup=False)
    raise typer.Exit(1)


def program() -> str:
    """Return the program as a person can type it: its name, or the path that it was started by if PATH lacks it."""
    path = Path(sys.argv[0])
    is_on_path = path.name != "myloware" or shutil.which("myloware") == str(path)
    return "myloware" if is_on_path else str(path)
