"""What a person sees in the terminal."""

from __future__ import annotations

from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def fail(sentence: str) -> NoReturn:
    """Say what is wrong, and end."""
    err.print(f"[red]myloware:[/] {sentence}", soft_wrap=True, markup=True)
    raise typer.Exit(1)


def ideas_table(content: dict[str, Any]) -> Table:
    """The ideas as a review shows them."""
    table = Table(title=content["title"], title_justify="left", show_lines=True, expand=False)
    table.add_column("#", justify="right")
    table.add_column("Idea", ratio=1)
    table.add_column("What is seen and heard", ratio=3)
    table.add_column("Text", ratio=1)
    for number, idea in enumerate(content["ideas"], start=1):
        table.add_row(str(number), idea["title"], f"{idea['scene']}\n[dim]{idea['sound']}[/]", idea["overlay"])
    return table


def runs_table(runs: list[dict[str, Any]]) -> Table:
    """Runs, a line each."""
    table = Table("run", "project", "status", "step", "spent", "brief")
    for run in runs:
        brief = run["brief"] if len(run["brief"]) < 40 else run["brief"][:39] + "…"
        spent = f"{run['cost']['spent_usd']:.2f} USD"
        table.add_row(run["run_id"], run["project"], run["status"], run["current_step"] or "", spent, brief)
    return table
