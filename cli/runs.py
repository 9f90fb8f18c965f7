"""`myloware runs`: look at runs and decide, with the same functions as every other door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import typer

from api.settings import SettingsError
from api.wiring import assemble
from cli.local import checked_settings, completed
from cli.screen import fail, ideas_table, out, runs_table
from graph.reviews import about_clips
from runs import control, look
from runs.decide import decide, verdict_of
from runs.errors import RunError
from runs.production import Production
from storage import decisions

CHANNEL = "cli"
BY = "local"

runs = typer.Typer(help="Look at runs, decide at their gates, cancel and retry them.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
RunId = Annotated[UUID, typer.Argument(help="The id of the run.")]


def _ask(do: Callable[[Production], Awaitable[Any]]) -> Any:
    given = checked_settings()

    async def ask() -> Any:
        async with completed(given, with_sandbox=False) as settings, assemble(settings) as parts:
            return await do(parts.production)

    try:
        return asyncio.run(ask())
    except (SettingsError, RunError) as error:
        fail(str(error))


@runs.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    status: Annotated[str | None, typer.Option(help="Only runs of this status.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest runs."""
    found = _ask(lambda production: look.page(production, limit=limit, status=status))
    out.print_json(json.dumps(found)) if as_json else out.print(runs_table(found))


@runs.command("show")
def show(run_id: RunId, as_json: AsJson = False) -> None:
    """How a run stands, and what it asks."""
    _show(_ask(lambda production: look.view(production, run_id)), as_json)


@runs.command("approve")
def approve(
    run_id: RunId,
    gate: Annotated[Literal["ideation", "publish"], typer.Argument(help="The gate.")],
    no: Annotated[bool, typer.Option("--no", help="Do not approve; with a comment this asks for changes.")] = False,
    comment: Annotated[str | None, typer.Option(help="What you say of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide at a gate."""

    async def do(production: Production) -> Any:
        verdict = verdict_of(not no, comment)
        await decide(production, run_id, gate, verdict=verdict, comment=comment, decided_by=BY, channel=CHANNEL)
        return await look.view(production, run_id)

    _show(_ask(do), as_json)


@runs.command("cancel")
def cancel(run_id: RunId, as_json: AsJson = False) -> None:
    """End a run."""

    async def do(production: Production) -> Any:
        await control.cancel(production, run_id, by=BY, channel=CHANNEL, external_id=str(uuid4()))
        return await look.view(production, run_id)

    _show(_ask(do), as_json)


@runs.command("retry")
def retry(
    run_id: RunId,
    not_made: Annotated[
        bool, typer.Option("--not-made", help="Orders of unknown outcome were not made: order them again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a failed run go on."""

    async def do(production: Production) -> Any:
        await control.retry(production, run_id, not_made=not_made, by=BY, channel=CHANNEL, external_id=str(uuid4()))
        return await look.view(production, run_id)

    _show(_ask(do), as_json)


def verified() -> tuple[list[str], int]:
    """The faults of the chain of decisions, and how many decisions there are."""

    async def do(production: Production) -> tuple[list[str], int]:
        row = await production.db.fetch_one("select count(*) as n from decisions")
        return await decisions.verify(production.db), row["n"] if row else 0

    faults, many = _ask(do)
    return faults, many


def _show(run: dict[str, Any], as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(run))
        return
    out.print(runs_table([run]))
    if run["error"]:
        out.print(f"[red]{run['error']['code']}[/]: {run['error']['message']}", soft_wrap=True)
    if review := run["review"]:
        out.print(f"The {review['gate']} gate is open, revision {review['revision']}:")
        if review["gate"] == "ideation":
            out.print(ideas_table(review["shown"]))
            shown = review["shown"]
            price = f"Making {len(shown['make'])} clips costs {shown['estimated_usd']} USD."
            out.print(f"{price} {about_clips(shown)}", soft_wrap=True)
        else:
            out.print_json(json.dumps(review["shown"]))
        out.print(f"Decide: myloware runs approve {run['run_id']} {review['gate']}", soft_wrap=True)
