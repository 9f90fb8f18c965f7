"""`myloware prune` and `myloware runs delete`: remove what is no longer needed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import exit_with_error, stdout
from cli.runs import RunId, runs
from storage.actors import LOCAL

if TYPE_CHECKING:
    from uuid import UUID

    from runs.services import Services


def prune(
    days: Annotated[
        int | None, typer.Option(min=0, help="Prune what ended so many days ago; by default MYLOWARE_KEEP_DAYS.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and remove nothing.")
    ] = False,
) -> None:
    """Remove the words and files of old runs and chats. Orders, costs and decisions are kept."""
    from cli import running
    from runs import pruning

    async def process(services: Services, _: UUID) -> pruning.Pruned:
        keep = services.keep if days is None else timedelta(days=days)
        if keep is None:
            exit_with_error("Name the age with --days, or set MYLOWARE_KEEP_DAYS.")
        return await pruning.prune(services, keep, LOCAL.id, dry_run=dry_run)

    done = running.call(None, process)
    typer.echo(
        f"{'would remove' if dry_run else 'removed'}: {done.runs} runs, {done.chats} chats,"
        f" {done.files} files, {done.bytes / 1e6:,.1f} MB"
    )


@runs.command("delete")
def delete(run: RunId, yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False) -> None:
    """Delete the words and files of a run that has ended; its costs, orders and decisions are kept."""
    from cli import running
    from runs.pruning import delete_run

    if not yes:
        typer.confirm(f"Delete the words and files of run {run}? They cannot be restored.", abort=True, err=True)
    deleted = running.call(run, lambda services, run_id: delete_run(services, run_id, LOCAL.id))
    stdout.print(f"deleted: {deleted.files} files, {deleted.bytes / 1e6:,.1f} MB")
