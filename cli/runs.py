"""`myloware runs`: look at runs and decide, with the same functions as every other door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import typer

from api.settings import SettingsError
from api.wiring import open_app_state
from cli.local_services import checked_settings, with_local_services
from cli.output import fail, ideas_table, out, runs_table
from graph.review_content import describe_clips
from runs import cancel as cancelling
from runs import queries
from runs import retry as retrying
from runs.decide import decide, verdict_of
from runs.errors import RunError
from runs.services import Services
from storage import decisions

CHANNEL = "cli"
BY = "local"

runs = typer.Typer(help="Look at runs, decide at their gates, cancel and retry them.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
RunId = Annotated[UUID, typer.Argument(help="The id of the run.")]


def _ask(do: Callable[[Services], Awaitable[Any]]) -> Any:
    given = checked_settings()

    async def ask() -> Any:
        async with with_local_services(given, with_sandbox=False) as settings, open_app_state(settings) as parts:
            return await do(parts.services)

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
    found = _ask(lambda services: queries.list_runs(services, limit=limit, status=status))
    out.print_json(json.dumps(found)) if as_json else out.print(runs_table(found))


@runs.command("show")
def show(run_id: RunId, as_json: AsJson = False) -> None:
    """How a run stands, and what it asks."""
    _show(_ask(lambda services: queries.get_run_view(services, run_id)), as_json)


@runs.command("approve")
def approve(
    run_id: RunId,
    gate: Annotated[Literal["ideation", "publish"], typer.Argument(help="The gate.")],
    no: Annotated[bool, typer.Option("--no", help="Do not approve; with a comment this asks for changes.")] = False,
    comment: Annotated[str | None, typer.Option(help="What you say of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide at a gate."""

    async def do(services: Services) -> Any:
        verdict = verdict_of(not no, comment)
        await decide(services, run_id, gate, verdict=verdict, comment=comment, decided_by=BY, channel=CHANNEL)
        return await queries.get_run_view(services, run_id)

    _show(_ask(do), as_json)


@runs.command("cancel")
def cancel(run_id: RunId, as_json: AsJson = False) -> None:
    """End a run."""

    async def do(services: Services) -> Any:
        await cancelling.cancel_run(services, run_id, by=BY, channel=CHANNEL, external_id=str(uuid4()))
        return await queries.get_run_view(services, run_id)

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

    async def do(services: Services) -> Any:
        await retrying.retry_run(services, run_id, not_made=not_made, by=BY, channel=CHANNEL, external_id=str(uuid4()))
        return await queries.get_run_view(services, run_id)

    _show(_ask(do), as_json)


def verified() -> tuple[list[str], int]:
    """The faults of the chain of decisions, and how many decisions there are."""

    async def do(services: Services) -> tuple[list[str], int]:
        row = await services.db.fetch_one("select count(*) as n from decisions")
        return await decisions.verify_chain(services.db), row["n"] if row else 0

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
            out.print(ideas_table(review["content"]))
            content = review["content"]
            price = f"Making {len(content['make'])} clips costs {content['estimated_usd']} USD."
            out.print(f"{price} {describe_clips(content)}", soft_wrap=True)
        else:
            out.print_json(json.dumps(review["content"]))
        out.print(f"Decide: myloware runs approve {run['run_id']} {review['gate']}", soft_wrap=True)
