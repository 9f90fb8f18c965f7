"""`myloware runs`: the commands that read runs. Each imports what it needs when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import exit_with_error, program, stderr, stdout
from graph.status import TERMINAL_STATUSES, Status
from storage.actors import LOCAL

if TYPE_CHECKING:
    from uuid import UUID

    from runs.history import History
    from runs.queries import RunView
    from runs.services import Services
    from storage.database import Database

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of the run, or its first 6 characters or more.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

POLL_INTERVAL_SECONDS = 0.3

runs = typer.Typer(help="List runs, decide at their gates, cancel, retry and fork them.", no_args_is_help=True)


@runs.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=100, help="The number of runs.")] = 20,
    status: Annotated[Status | None, typer.Option(help="Only runs with this status.")] = None,
    project: Annotated[str | None, typer.Option(help="Only runs of this project.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the newest runs."""
    from cli import display, running
    from runs import queries
    from storage import runs as table

    async def process(db: Database) -> tuple[list[RunView], dict[UUID, str]]:
        served_to = LOCAL if as_json else None
        found = await queries.list_runs(db, limit=limit, status=status, project=project, served_to=served_to)
        return found, await table.short_ids(db, [run.run_id for run in found])

    found, short_ids = running.read(process)
    display.print_result(found, as_json, display.list_of_runs(found, short_ids, stdout.width))


@runs.command("show")
def show(run: RunId, as_json: AsJson = False) -> None:
    """Show a run and its open review."""
    from cli import display, running

    display.print_run(running.read_run(run, running.serve_run), as_json)


@runs.command("watch")
def watch(
    run: RunId,
    after: Annotated[int, typer.Option(min=0, help="Start after the event with this number.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")] = False,
) -> None:
    """Print the events of a run as they happen, until it has ended."""
    import asyncio

    from cli import display, running
    from runs import queries
    from storage.events import list_events
    from storage.reviews import record_served_events

    reporter = display.ProgressReporter(as_json, None)

    async def process(db: Database, run_id: UUID) -> RunView:
        last_seq = after
        while True:
            # Read before the events: a list read after the end contains the last event.
            view = await queries.get_run_view(db, run_id)
            events = await list_events(db, run_id, after=last_seq)
            if as_json:
                await record_served_events(db, LOCAL, run_id, events)
            for event in events:
                last_seq = event.seq
                reporter.report_event(event)
                if event.kind == "review.opened" and not as_json:
                    gate = event.payload["gate"]
                    stderr.print(f"The {gate} gate was opened: {program()} runs show {run_id}", soft_wrap=True)
            if view.status in TERMINAL_STATUSES and not events:
                return view
            await asyncio.sleep(0 if events else POLL_INTERVAL_SECONDS)

    view = running.read_run(run, process)
    if not as_json:
        display.print_run(view, as_json=False)
    if view.status != "completed":
        raise typer.Exit(1)


@runs.command("history")
def history(run: RunId, as_json: AsJson = False) -> None:
    """Print every revision, decision, take, charge and post of a run, with time and actor."""
    from cli import display, running
    from runs.history import get_history

    async def process(services: Services, run_id: UUID) -> History:
        return await get_history(services.db, services.ledger, run_id, served_to=LOCAL if as_json else None)

    found = running.call(run, process)
    lines = (f"{entry.at:%Y-%m-%d %H:%M:%S}  {entry.actor['name']}: {entry.text}" for entry in found.entries)
    display.print_result(found, as_json, lines)


@runs.command("replay")
def replay(run: RunId) -> None:
    """Print a run as one web page that loads nothing: timeline, takes, prices, decisions and head of the audit log.

    Redirect it to a file to send or keep: `myloware runs replay RUN > run.html`. Who has it reads everything in it.
    """
    if sys.stdout.isatty():
        exit_with_error(f"The page is for a file: {program()} runs replay {run} > run.html")
    from cli import running
    from console.replay import replay_page

    typer.echo(running.call(run, replay_page).encode(), nl=False)


@runs.command("film")
def film(
    run: RunId, output: Annotated[Path | None, typer.Option(metavar="FILE", help="The file to write.")] = None
) -> None:
    """Write the film of a run to a file, its subtitles beside it (.srt), and print its path."""
    from cli import running
    from cli.files import copy_film
    from runs.queries import get_run_view

    async def process(services: Services, run_id: UUID) -> Path:
        return await copy_film(services, await get_run_view(services.db, run_id), Path(), output)

    stdout.print(str(running.call(run, process)), markup=False, soft_wrap=True)


@runs.command("clips")
def clips(
    run: RunId,
    output: Annotated[Path | None, typer.Option(metavar="FOLDER", help="A folder to write the takes to.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every take of the clips of a run, or write them to a folder."""
    from cli import display, running
    from cli.files import copy_file
    from runs.queries import check_kept, get_run_view

    async def process(services: Services, run_id: UUID) -> list[dict[str, Any]]:
        run = await get_run_view(services.db, run_id)
        check_kept(run)
        takes = run.artifacts.get("clip_manifest", {}).get("clips", [])
        for take in takes:
            if output and "digest" in take:
                await copy_file(services, take["digest"], output / f"clip-{take['clip']}-take-{take['take']}.mp4")
        return list(takes)

    takes = running.call(run, process)
    lines = (f"clip {t['clip']}, take {t['take']}: {t.get('digest', t['state'])}, {t['usd']:.2f} USD" for t in takes)
    display.print_result(takes, as_json, lines)


@runs.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A PNG, JPEG or WebP image, or audio.")],
) -> None:
    """Store an image that clips can start from, or music for a film, and print its digest for the edits."""
    from cli import running
    from runs.uploads import store_upload

    content = file.read_bytes()
    stdout.print(running.call(None, lambda services, _: store_upload(services, content)).digest, soft_wrap=True)


@runs.command("quote")
def quote(
    run: RunId, clips: Annotated[list[int], typer.Argument(min=1, help="The clips.")], as_json: AsJson = False
) -> None:
    """Print the price of generating clips again. Nothing is decided."""
    from cli import display, running
    from runs import decide

    found = running.call(run, lambda services, run_id: decide.quote(services, run_id, clips))
    display.print_result(found, as_json, [display.describe_quote(found, len(set(clips)))])
