"""`myloware`: the command line. Each command imports its implementation when it is called, so that `--help` is fast."""

import gc
import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.keys import keys
from cli.media_checks import clips, films
from cli.output import exit_with_error
from cli.projects import projects
from cli.providers import providers
from cli.pruning import prune
from cli.run_changes import Url
from cli.runs import runs

if TYPE_CHECKING:
    from storage.database import Database

app = typer.Typer(name="myloware", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(runs, name="runs")
app.add_typer(keys, name="keys")
app.add_typer(clips, name="clips")
app.add_typer(films, name="films")
webhooks = typer.Typer(help="Webhook signatures.", no_args_is_help=True)
app.add_typer(webhooks, name="webhooks")
models = typer.Typer(help="The language model.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(providers, name="providers")
app.add_typer(projects, name="projects")
audits = typer.Typer(help="The audit log of decisions.", no_args_is_help=True)
app.add_typer(audits, name="audit")
app.command("prune")(prune)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"myloware {version('myloware')}")
        raise typer.Exit


@app.callback()
def prepare(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Multi-agent video production with human approval at two gates."""
    # What the program writes is for its own user: films, clips, logs, the sandbox's data.
    os.umask(0o077)
    # The imports of a command create much, and nothing to collect. `running.run` enables it again.
    gc.disable()
    context.call_on_close(gc.enable)


@app.command("make")
def make_command(
    brief: Annotated[str | None, typer.Argument(help="The brief of the video.")] = None,
    project: Annotated[str, typer.Option(help="The project.")] = "shorts",
    run: Annotated[
        str | None, typer.Option(help="Go on with this run: its id, or its first 6 characters or more.")
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Use the sandbox for everything, whatever is set, with data of its own.")
    ] = False,
    remotion: Annotated[
        bool, typer.Option("--remotion", help="Like --sandbox, but render with the service at REMOTION_URL.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Approve at both gates without asking. Refused if that costs or publishes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines; requires --yes.")] = False,
) -> None:
    """Make a video from a brief, with prompts at the gates."""
    if as_json and not yes:
        exit_with_error("--json requires --yes, because it cannot prompt.")
    if (brief is None) == (run is None):
        exit_with_error("Give either a brief or --run with the id of a run.")
    from cli import make
    from cli.local_services import checked_settings, sandbox_only
    from cli.running import run as run_work

    flags = ["--sandbox"] * (sandbox or remotion) + ["--remotion"] * remotion
    # The project of an existing run is not known here.
    change = partial(sandbox_only, project=None if run else project, keep_renderer=remotion)
    settings = checked_settings(change if flags else None)
    if yes:
        make.check_unattended(settings)
    run_work(make.make(settings, brief or "", project, run, flags=flags, yes=yes, as_json=as_json))


@app.command("serve")
def serve_command(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = 8000,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Serve only; run workers separately.")] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Like that of `make`, with the runs made by it.")] = False,
    brief: Annotated[str | None, typer.Option(help="Start a run with this brief, to follow in the browser.")] = None,
    project: Annotated[str, typer.Option(help="The project of the run.")] = "shorts",
) -> None:
    """Serve the API, with a worker in the same process."""
    from cli import running, serve
    from cli.local_services import checked_settings, sandbox_only

    settings = checked_settings(partial(sandbox_only, project=project, keep_renderer=False) if sandbox else None)
    work = serve.serve(settings, host, port, with_worker=not no_worker, project=project, brief=brief)
    running.run(work, settings)


@app.command("worker")
def worker_command() -> None:
    """Run a worker. Any number of workers can share a database."""
    from cli import running, serve
    from cli.local_services import checked_settings

    settings = checked_settings()
    running.run(serve.work(settings), settings)


@app.command("sandbox", context_settings={"ignore_unknown_options": True})
def sandbox_command(arguments: Annotated[list[str] | None, typer.Argument(metavar="[OPTIONS]")] = None) -> None:
    """Run only the sandbox, which replaces the model server, the video provider and Upload-Post.

    Options: --host and --port to listen on (127.0.0.1:8900), --state for the folder of its data (.myloware/sandbox),
    --webhook-url for its webhooks, which SANDBOX_WEBHOOK_SECRET signs. `python -m sandbox --help` explains them.
    """
    defaults = ["--port", "8900", "--state", ".myloware/sandbox"]
    # In place of this process: a signal to it stops the sandbox.
    os.execv(sys.executable, [sys.executable, "-m", "sandbox", *defaults, *(arguments or [])])  # noqa: S606


@app.command("mcp")
def mcp_command(url: Url = None) -> None:
    """Print the settings for MCP clients."""
    from api.mcp_server import PATH
    from cli.local_services import service_url

    headers = {"Authorization": "Bearer your-api-key"}
    entry = {"type": "http", "url": f"{service_url(url)}{PATH}", "headers": headers}
    settings = {"Clients with mcpServers in their settings (Cursor and others)": "mcpServers", "VS Code": "servers"}
    for client, key in settings.items():
        typer.echo(f"{client}:\n\n{json.dumps({key: {'myloware': entry}}, indent=2)}\n")
    typer.echo(
        "Replace your-api-key with your API key. A key that was added with --can start can do everything except decide."
        "\nDecisions are shown as a form; clients without forms show the URLs at which you decide."
    )


@app.command("doctor")
def doctor_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the settings and check that they work."""
    from cli import checks, running

    running.run(checks.examine(as_json=as_json))


@app.command("backup")
def backup_command(file: Path) -> None:
    """Write the database and all stored files to one file, also while the service runs."""
    from cli import backups, running

    running.run(backups.back_up(file))


@app.command("restore")
def restore_command(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    nothing_since: Annotated[bool, typer.Option(help="For a move: no service ran since the backup began.")] = False,
) -> None:
    """Restore a backup into an empty database, and hold what its runs may have ordered since."""
    from cli import backups, running

    running.run(backups.restore(file, nothing_since=nothing_since))


@models.command("check")
def models_check(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Ask the language model the product's own questions, and show what it can do. Exits with 1 if one failed."""
    from cli import checks, running

    running.run(checks.check_model(as_json=as_json))


@app.command("openapi")
def openapi_command() -> None:
    """Print the OpenAPI description of the API."""
    from cli import serve

    typer.echo(json.dumps(serve.openapi_description(), indent=2, ensure_ascii=False))


@audits.command("verify")
def audit_verify(
    head: Annotated[str | None, typer.Option(help="A head that was printed before and kept elsewhere.")] = None,
) -> None:
    """Verify that no decision was changed, removed or reordered and that sums equal their orders; print the head.

    Keep the head outside the database: --head then shows whether a decision of that time was removed with every trace.
    """
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        exit_with_error("--head must have 64 hexadecimal digits, as `myloware audit verify` prints them.")
    from cli.running import read
    from storage import decisions
    from storage.decision_chain import verify_chain
    from storage.spending import verify_spending

    async def verify(db: "Database") -> tuple[list[str], int, str]:
        faults = [*await verify_chain(db, head or decisions.GENESIS), *await verify_spending(db)]
        return faults, *await decisions.chain_head(db)

    faults, count, new_head = read(verify)
    for fault in faults:
        typer.echo(fault)
    typer.echo(f"{count} decisions, {len(faults)} faults")
    if faults:
        raise typer.Exit(1)
    typer.echo(f"head {new_head}")


@webhooks.command("check")
def webhooks_check(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Verify the signatures in a file of test vectors."""
    from providers.webhook_vectors import check_vectors

    counts = {True: 0, False: 0}
    try:
        for name, passed, outcome in check_vectors(file):
            counts[passed] += 1
            typer.echo(f"passed  {name}" if passed else f"FAILED  {name}  ({outcome})")
    except (ValueError, KeyError, TypeError) as error:
        exit_with_error(f"{file.name} is not a file of test vectors: {error}.")
    typer.echo(f"{counts[True]} passed, {counts[False]} failed")
    if counts[False] or not counts[True]:
        raise typer.Exit(1)
