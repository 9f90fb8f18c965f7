"""`myloware runs`: list runs, decide at their gates, cancel and retry them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from uuid import UUID

import typer
from pydantic import TypeAdapter

from api.settings_types import SettingsError
from api.wiring import open_app_state
from cli.local_services import checked_settings, with_local_services
from cli.output import exit_with_error, print_review, print_unknown_orders, runs_table, stderr, stdout
from graph.decisions import DecisionInput, Gate, verdict_of
from graph.status import Status
from runs import cancel, queries, retry, served_reviews
from runs.decide import decide
from runs.errors import OutcomeUnknown, RunError
from runs.queries import RunView
from runs.services import Services
from storage import decisions
from storage.actors import LOCAL, RequestContext
from storage.spending import verify_spending

T = TypeVar("T")

runs = typer.Typer(help="List runs, decide at their gates, cancel and retry them.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId = Annotated[UUID, typer.Argument(help="The id of the run.")]

#: The operator makes every request of the command line.
LOCAL_CONTEXT = RequestContext(LOCAL, "cli")

_run_list = TypeAdapter(list[RunView])


def _call(function: Callable[[Services], Awaitable[T]]) -> T:
    """Return the result of a function that needs the services. Exits with its error message on failure."""
    checked = checked_settings()

    async def call() -> T:
        async with with_local_services(checked, with_sandbox=False) as settings, open_app_state(settings) as state:
            return await function(state.services)

    try:
        return asyncio.run(call())
    except (SettingsError, RunError) as error:
        exit_with_error(str(error))


@runs.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=100, help="The number of runs.")] = 20,
    status: Annotated[Status | None, typer.Option(help="Only runs with this status.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the newest runs."""

    async def process(services: Services) -> list[RunView]:
        found = await queries.list_runs(services.db, limit=limit, status=status)
        if as_json:
            await served_reviews.record_runs(services.db, LOCAL, found)
        return found

    found = _call(process)
    if as_json:
        stdout.print_json(_run_list.dump_json(found).decode())
    else:
        stdout.print(runs_table(found))


@runs.command("show")
def show(run_id: RunId, as_json: AsJson = False) -> None:
    """Show a run and its open review."""
    _print_run(_call(lambda services: _serve_run(services, run_id)), as_json)


@runs.command("approve")
def approve(
    run_id: RunId,
    gate: Annotated[Gate, typer.Argument(help="The gate.")],
    no: Annotated[bool, typer.Option("--no", help="Reject; with a comment, request changes.")] = False,
    comment: Annotated[str | None, typer.Option(help="A comment on the review.")] = None,
    sample: Annotated[
        list[int] | None, typer.Option(help="Generate only this clip before the rest; repeat it for several.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="The digest of the content that you saw, as `runs show` prints it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide at a gate."""
    decision = DecisionInput(
        verdict=verdict_of(not no, comment), comment=comment or "", sample=sample or [], digest=digest
    )
    _change_run(run_id, as_json, lambda services: decide(services, run_id, gate, decision, LOCAL_CONTEXT))


@runs.command("cancel")
def cancel_command(run_id: RunId, as_json: AsJson = False) -> None:
    """End a run."""
    _change_run(run_id, as_json, lambda services: cancel.cancel_run(services, run_id, LOCAL_CONTEXT))


@runs.command("retry")
def retry_command(
    run_id: RunId,
    not_made: Annotated[
        bool, typer.Option("--not-made", help="Declare orders of unknown outcome not executed; place them again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Continue a failed run from its last checkpoint."""
    confirm: str | None = None

    async def process(services: Services) -> RunView | OutcomeUnknown:
        try:
            await retry.retry_run(services, run_id, not_made=not_made, confirm=confirm, context=LOCAL_CONTEXT)
        except OutcomeUnknown as error:
            return error
        return await queries.get_run_view(services.db, run_id)

    # Candidates that appear during the question are shown before anything is declared.
    while isinstance(outcome := _call(process), OutcomeUnknown):
        print_unknown_orders(stderr, outcome.details)
        if not not_made:
            exit_with_error("Check with the provider. Add --not-made if the orders were not executed.")
        typer.confirm(
            f"None of them was executed. Order again for {outcome.details['usd']:.2f} USD?", abort=True, err=True
        )
        confirm = outcome.details["confirm"]
    _print_run(outcome, as_json)


def verify_decisions(head: str) -> tuple[list[str], int, str]:
    """Return the faults in decisions and sums, the number of decisions, and the head of their hash chain.

    `head` is an earlier head to compare with.
    """

    async def process(services: Services) -> tuple[list[str], int, str]:
        db = services.db
        return (
            [*await decisions.verify_chain(db, head), *await verify_spending(db)],
            await decisions.count_decisions(db),
            await decisions.chain_head(db),
        )

    return _call(process)


def _change_run(run_id: UUID, as_json: bool, change: Callable[[Services], Awaitable[object]]) -> None:
    """Change a run and print it."""

    async def process(services: Services) -> RunView:
        await change(services)
        return await _serve_run(services, run_id)

    _print_run(_call(process), as_json)


async def _serve_run(services: Services, run_id: UUID) -> RunView:
    """Return a run to print, whose open review the operator is served with it. Raises RunNotFound."""
    run = await queries.get_run_view(services.db, run_id)
    await served_reviews.record_runs(services.db, LOCAL, [run])
    return run


def _print_run(run: RunView, as_json: bool) -> None:
    if as_json:
        stdout.print_json(run.model_dump_json())
        return
    stdout.print(runs_table([run]))
    if run.error:
        stdout.print(f"[red]{run.error.code}[/]: {run.error.message}", soft_wrap=True)
    if review := run.review:
        stdout.print(f"The {review.gate} gate is open, revision {review.revision}:")
        print_review(stdout, review.content)
        decide_command = f"myloware runs approve {run.run_id} {review.gate} --digest {review.digest}"
        stdout.print(f"Decide: {decide_command}", soft_wrap=True)
