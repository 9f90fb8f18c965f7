"""Terminal output: the consoles, tables, and the exit with an error message."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from graph.review_content import IdeasContent, ReviewContent, describe_clips
from runs.queries import RunView

MAX_BRIEF_CHARACTERS = 40

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def exit_with_error(message: str) -> NoReturn:
    """Print an error message and exit with status 1."""
    stderr.print(f"[red]myloware:[/] {message}", soft_wrap=True, markup=True)
    raise typer.Exit(1)


def print_review(console: Console, content: ReviewContent) -> None:
    """Print the content of a review: the ideas with their price, or the film with its post."""
    if isinstance(content, IdeasContent):
        console.print(_ideas_table(content))
        price = f"{len(content.make)} clips for [bold]{content.estimated_usd} USD[/]."
        console.print(f"{price} {describe_clips(content)}", soft_wrap=True)
        return
    console.print(f"[bold]{content.title}[/], {content.film.seconds:.2f} s, for {', '.join(content.platforms)}:")
    console.print(f"  {content.caption}\n  {' '.join(content.hashtags)}")
    for clip in content.clips:
        console.print(f"  clip {clip.clip}, take {clip.take} of {clip.takes}: {clip.overlay}", markup=False)
    for notice in content.notices:
        console.print(f"  Note: {notice}", markup=False, soft_wrap=True)


def _ideas_table(content: IdeasContent) -> Table:
    table = Table(title=content.title, title_justify="left", show_lines=True, expand=False)
    table.add_column("#", justify="right")
    table.add_column("Idea", ratio=1)
    table.add_column("Scene and sound", ratio=3)
    table.add_column("Overlay", ratio=1)
    for number, idea in enumerate(content.ideas, start=1):
        table.add_row(str(number), idea.title, f"{idea.scene}\n[dim]{idea.sound}[/]", idea.overlay)
    return table


def print_unknown_orders(console: Console, evidence: Mapping[str, Any]) -> None:
    """Print orders of unknown outcome: where to look, and the provider's orders that may be the same."""
    for order in evidence["orders"]:
        console.print(
            f"{order['order']}, called {order['called_at']}, {order['usd']:.2f} USD, at {order['provider']}.\n"
            f"  {order['lookup_proof']} Look: {order['lookup_url']}",
            soft_wrap=True,
            markup=False,
        )
        if order["candidates"] is None:
            console.print("  The provider cannot be asked for candidates now.")
        for found in order["candidates"] or []:
            line = f"  may be {found['task_id']}, {found['status']}, created {found['created_at']}: {found['url']}"
            console.print(line, soft_wrap=True, markup=False)


def runs_table(runs: Sequence[RunView]) -> Table:
    """Return a table with one row for each run."""
    table = Table("run", "project", "status", "step", "spent", "brief")
    for run in runs:
        is_long = len(run.brief) >= MAX_BRIEF_CHARACTERS
        brief = f"{run.brief[: MAX_BRIEF_CHARACTERS - 1]}…" if is_long else run.brief
        spent = f"{run.cost.spent_usd:.2f} USD"
        table.add_row(str(run.run_id), run.project, run.status, run.current_step or "", spent, brief)
    return table
