"""`myloware runs`: the commands that change runs. Each imports what it needs when it is called."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import arguments
from cli.arguments import AsJson, Budget, Edits, ProjectOptions, RunId
from cli.output import exit_with_error, stderr, stdout
from cli.runs import runs
from graph.status import Gate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from runs.errors import OutcomeUnknown
    from runs.queries import RunView
    from runs.services import Services

Texts = list[str] | None
GateArgument = Annotated[Gate, typer.Argument(help="The gate.")]
Url = Annotated[str | None, typer.Option(help="The URL of the service; MYLOWARE_PUBLIC_URL by default.")]


@runs.command("approve")
def approve(
    run: RunId,
    gate: GateArgument,
    no: Annotated[bool, typer.Option("--no", help="Reject; with a comment or edits, request changes.")] = False,
    comment: Annotated[str | None, typer.Option(help="A comment on the review.")] = None,
    keep: Annotated[Texts, typer.Option(help="Ideation: the ideas to keep, in this order, such as 1,3.")] = None,
    sample: Annotated[Texts, typer.Option(help="Ideation: generate only these clips before the rest.")] = None,
    edits: Edits = None,
    caption: Annotated[str | None, typer.Option(help="Publish: the caption to post.")] = None,
    hashtags: Annotated[str | None, typer.Option(help="Publish: the hashtags to post, in one text.")] = None,
    overlay: Annotated[Texts, typer.Option(metavar="N=TEXT", help="Publish: the text over a clip; renders.")] = None,
    take: Annotated[Texts, typer.Option(metavar="N=TAKE", help="Publish: the take of a clip; renders.")] = None,
    clips: Annotated[
        Texts, typer.Option(metavar="N[:TEXT]", help="Publish: clips to order again; `runs quote` has the price.")
    ] = None,
    digest: Annotated[str | None, typer.Option(help="The digest of what you saw, as `runs show` prints it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide at a gate. Overlays, takes and clips request changes of the film."""
    from graph.decisions import DecisionInput, verdict_of
    from runs.decide import decide

    overlays, takes = arguments.numbered(overlay, "--overlay"), arguments.numbered(take, "--take")
    notes, texts = arguments.clip_notes(clips), {"caption": caption, "hashtags": hashtags, "overlays": overlays or None}
    changes = arguments.with_texts(arguments.json_of(edits), texts)
    is_revision = any((notes, takes, overlays, no and changes))
    decision = DecisionInput(
        verdict="revise" if is_revision else verdict_of(not no, comment),
        comment=comment or "",
        keep=arguments.numbers(keep, "--keep") or None,
        sample=arguments.numbers(sample, "--sample"),
        edits=changes,
        clips=notes,
        takes=dict(zip(takes, arguments.numbers(list(takes.values()), "--take"), strict=True)),
        digest=digest,
    )
    _change(run, as_json, lambda services, run_id, context: decide(services, run_id, gate, decision, context))


@runs.command("link")
def link(
    run: RunId,
    gate: GateArgument,
    hours: Annotated[float, typer.Option(min=0.01, max=720, help="The lifetime of the link, in hours.")] = 72,
    url: Url = None,
) -> None:
    """Print a link that opens the open review of a gate and decides it once, without an API key."""
    from cli import running
    from cli.local_services import service_url
    from runs.review_links import create_link

    base = service_url(url)
    token, created = running.call_run(
        run, lambda services, run_id: create_link(services.db, run_id, gate, hours=hours, context=running.LOCAL_CONTEXT)
    )
    stdout.print(f"{base}/review/{token}", markup=False, soft_wrap=True)
    stderr.print(f"Anyone who has it can decide once, until {created.expires_at:%Y-%m-%d %H:%M} UTC.")


@runs.command("cancel")
def cancel(run: RunId, as_json: AsJson = False) -> None:
    """End a run."""
    from runs.cancel import cancel_run

    _change(run, as_json, cancel_run)


@runs.command("retry")
def retry(
    run: RunId,
    not_made: Annotated[
        bool, typer.Option("--not-made", help="Declare orders of unknown outcome not executed; place them again.")
    ] = False,
    stop_waiting: Annotated[
        bool, typer.Option("--stop-waiting", help="Give up the orders that a run in trouble waits for.")
    ] = False,
    prompt: Annotated[Texts, typer.Option(metavar="N=TEXT", help="Another prompt for a failed clip.")] = None,
    drop: Annotated[Texts, typer.Option(help="The failed clips to leave out, such as 1,3.")] = None,
    as_json: AsJson = False,
) -> None:
    """Continue a failed run from its last checkpoint, or try again now what a run in trouble waits for."""
    from cli import running, tables
    from runs.errors import OutcomeUnknown
    from runs.retry import retry_run

    changes: dict[str, Any] = {
        "prompts": arguments.numbered(prompt, "--prompt"),
        "drop": arguments.numbers(drop, "--drop"),
        "stop_waiting": stop_waiting,
    }
    confirm: str | None = None

    async def process(services: Services, run_id: UUID) -> RunView | OutcomeUnknown:
        try:
            context = running.LOCAL_CONTEXT
            await retry_run(services, run_id, not_made=not_made, confirm=confirm, context=context, **changes)
        except OutcomeUnknown as error:
            return error
        return await running.serve_run(services.db, run_id)

    # Candidates that appear during the question are shown before anything is declared.
    while isinstance(outcome := running.call_run(run, process), OutcomeUnknown):
        tables.print_unknown_orders(stderr, outcome.details)
        if not not_made:
            exit_with_error("Check with the provider. Add --not-made if the orders were not executed.")
        typer.confirm(
            f"None of them was executed. Order again for {outcome.details['usd']:.2f} USD?", abort=True, err=True
        )
        confirm = outcome.details["confirm"]
    tables.print_run(outcome, as_json)


@runs.command("fork")
def fork(
    run: RunId,
    revision: Annotated[int | None, typer.Option(min=1, help="The revision of the ideas; by default the last.")] = None,
    project: Annotated[str | None, typer.Option(help="The same ideas in the style of another project.")] = None,
    option: ProjectOptions = None,
    edits: Edits = None,
    budget: Budget = None,
    as_json: AsJson = False,
) -> None:
    """Start a new run with the ideas of a run. Identical clips are not paid again."""
    from cli import running, tables
    from runs.fork import fork_run

    changes: dict[str, Any] = {
        "revision": revision,
        "project": project,
        "options": arguments.options(option),
        "edits": arguments.json_of(edits),
        "budget_usd": None if budget is None else Decimal(str(budget)),
    }

    async def process(services: Services, source: UUID) -> RunView:
        new = await fork_run(services, source, context=running.LOCAL_CONTEXT, **changes)
        return await running.serve_run(services.db, new.id)

    tables.print_run(running.call_run(run, process), as_json)


def _change(run: str, as_json: bool, change: Callable[[Services, UUID, Any], Awaitable[object]]) -> None:
    """Change a run and print it."""
    from cli import running, tables

    async def process(services: Services, run_id: UUID) -> RunView:
        await change(services, run_id, running.LOCAL_CONTEXT)
        return await running.serve_run(services.db, run_id)

    tables.print_run(running.call_run(run, process), as_json)
