"""`myloware`: the commands. Each is a few lines here; what it does lives in the module of its name."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from api.mcp_server import client_settings
from api.settings import SettingsError
from cli import doctor, make, serve
from cli.local_services import checked_settings
from cli.output import fail
from cli.runs import runs, verified
from providers.webhooks import check_vectors

app = typer.Typer(
    name="myloware",
    help="A small video studio that works by itself and asks a person at the two moments that matter.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(runs, name="runs")
webhooks = typer.Typer(help="Webhook signatures.", no_args_is_help=True)
app.add_typer(webhooks, name="webhooks")
audit = typer.Typer(help="The record of what people decided.", no_args_is_help=True)
app.add_typer(audit, name="audit")

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")]


def _run(work: Coroutine[Any, Any, None]) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(work)
    except SettingsError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command("make")
def make_command(
    brief: Annotated[str, typer.Argument(help="What the video should be.")],
    project: Annotated[str, typer.Option(help="The project it is made for.")] = "shorts",
    yes: Annotated[bool, typer.Option("--yes", help="Approve at both gates without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell everything as JSON lines; needs --yes.")] = False,
) -> None:
    """Make a video, from the brief to the finished film, and ask at the gates."""
    if as_json and not yes:
        fail("--json asks nothing, so it needs --yes.")
    _run(make.make(checked_settings(), brief, project, yes=yes, as_json=as_json))


@app.command("serve")
def serve_command(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Serve only; workers run elsewhere.")] = False,
) -> None:
    """Serve the API, with a worker in the same process."""
    _run(serve.serve(checked_settings(), host, port, with_worker=not no_worker))


@app.command("worker")
def worker_command() -> None:
    """Work on runs. Any number of workers may share a database."""
    _run(serve.work(checked_settings()))


@app.command("sandbox", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sandbox_command(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 8900,
    state: Annotated[Path, typer.Option(help="The folder that the sandbox remembers in.")] = Path(".myloware/sandbox"),
    webhook_url: Annotated[str | None, typer.Option(help="Where its webhooks go.")] = None,
    webhook_secret: Annotated[str | None, typer.Option(help="What they are signed with (whsec_…).")] = None,
) -> None:
    """Run the sandbox by itself: a stand-in for the model server, the video provider and Upload-Post."""
    serve.sandbox(host, port, state, webhook_url, webhook_secret)


@app.command("mcp")
def mcp_command(
    url: Annotated[str | None, typer.Option(help="Where the service answers, if not at MYLOWARE_PUBLIC_URL.")] = None,
) -> None:
    """Print what to paste into the settings of an MCP client."""
    chosen = url or checked_settings().public_url or "http://127.0.0.1:8000"
    entry = client_settings(chosen)
    typer.echo("Clients that keep their servers under mcpServers (Cursor and many others):\n")
    typer.echo(json.dumps({"mcpServers": {"myloware": entry}}, indent=2))
    typer.echo("\nVS Code, in .vscode/mcp.json:\n")
    typer.echo(json.dumps({"servers": {"myloware": entry}}, indent=2))
    typer.echo(
        "\nPut your API key in the place of your-api-key. A key of MYLOWARE_LIMITED_API_KEYS can do everything but"
        " decide.\nA decision is put to you as a form; a client without forms names the places where you decide."
    )


@app.command("doctor")
def doctor_command(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say what is set, what is missing, and what is wrong."""
    _run(doctor.examine(as_json=as_json))


@app.command("openapi")
def openapi_command() -> None:
    """Print the OpenAPI description of the API."""
    typer.echo(json.dumps(serve.openapi_description(), indent=2, ensure_ascii=False))


@audit.command("verify")
def audit_verify() -> None:
    """Look whether any decision was changed, removed or moved since it was made."""
    faults, many = verified()
    for fault in faults:
        typer.echo(fault)
    typer.echo(f"{many} decisions, {len(faults)} faults")
    if faults:
        raise typer.Exit(1)


@webhooks.command("check")
def webhooks_check(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Run a file of signature vectors through the verifier."""
    counts = {True: 0, False: 0}
    try:
        for name, passed, detail in check_vectors(file):
            counts[passed] += 1
            typer.echo(
                f"{'passed' if passed else 'FAILED'}  {name}" + (f"  ({detail})" if detail and not passed else "")
            )
    except (ValueError, KeyError, TypeError) as error:
        fail(f"{file.name} is not a file of vectors: {error}.")
    typer.echo(f"{counts[True]} passed, {counts[False]} failed")
    if counts[False] or not counts[True]:
        raise typer.Exit(1)
