"""`myloware runs`: the commands that change runs. Each imports what it needs when it is called."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import exit_with_error, stderr, stdout
from cli.runs import AsJson, RunId, runs
from graph.status import Gate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from runs.errors import OutcomeUnknown
    from runs.queries import RunView
    from runs.services import Services

Texts = list[str] | None
GateArgument = Annotated[Gate, typer.Argument(help="The gate.")]
Edits = Annotated[str | None, typer.Option(metavar="JSON", help="The edited content, as in REST: JSON or @FILE.")]
ProjectOptions = Annotated[Texts, typer.Option("--option", metavar="NAME=N", help="A project's option; repeatable.")]
Budget = Annotated[float | None, typer.Option(min=0, max=100_000, help="The cap of the run, in USD.")]
Url = Annotated[str | None, typer.Option(help="The URL of the service; MYLOWARE_PUBLIC_URL by default.")]


@runs.command("start")
def start(
    project: Annotated[str, typer.Argument(help="The project.")],
    brief: Annotated[str, typer.Argument(help="The brief of the video.")],
    option: ProjectOptions = None,
    budget: Budget = None,
    metadata: Annotated[Texts, typer.Option(metavar="NAME=TEXT", help="Kept with the run; repeatable.")] = None,
    image: Annotated[str | None, typer.Option(metavar="DIGEST", help="The first clip starts from this upload.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start a run for the workers of `serve` and `worker`; `myloware make` works on one itself."""
    from runs.start import start_run

    texts: dict[str, Any] = {"project": project, "brief": brief, "metadata": _pairs(metadata, "--metadata")}
    texts |= {"image": image, "options": _options(option), "budget_usd": _usd(budget)}
    _change(None, as_json, lambda services, id_, context: start_run(services, run_id=id_, context=context, **texts))


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
    publish_at: Annotated[str | None, typer.Option(metavar="TIME", help="Publish: not before this time.")] = None,
    digest: Annotated[str | None, typer.Option(help="The digest of what you saw, as `runs show` prints it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide at a gate. Overlays, takes and clips request changes of the film."""
    from graph.decisions import DecisionInput, verdict_of
    from runs.decide import decide

    overlays, takes = _numbered(overlay, "--overlay"), _numbered(take, "--take")
    notes, texts = _clip_notes(clips), {"caption": caption, "hashtags": hashtags, "overlays": overlays or None}
    changes = _with_texts(_json_of(edits), texts)
    decision = DecisionInput(
        verdict="revise" if any((notes, takes, overlays, no and changes)) else verdict_of(not no, comment),
        comment=comment or "",
        keep=_numbers(keep, "--keep") or None,
        sample=_numbers(sample, "--sample"),
        edits=changes,
        clips=notes,
        takes=dict(zip(takes, _numbers(list(takes.values()), "--take"), strict=True)),
        publish_at=publish_at,
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
    from runs.links import create_link

    base, context = service_url(url), running.LOCAL_CONTEXT
    create = partial(create_link, gate=gate, base_url=base, hours=hours, context=context)
    link_url, created = running.read_run(run, create)
    stdout.print(link_url, markup=False, soft_wrap=True)
    stderr.print(f"Anyone who has it can decide once, until {created.expires_at:%Y-%m-%d %H:%M} UTC.")


@runs.command("cancel")
def cancel(run: RunId, as_json: AsJson = False) -> None:
    """End a run."""
    from runs.run_requests import cancel_run

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
    from cli import display, running
    from runs.errors import OutcomeUnknown
    from runs.run_requests import retry_run

    prompts, dropped = _numbered(prompt, "--prompt"), _numbers(drop, "--drop")
    changes: dict[str, Any] = {"prompts": prompts, "drop": dropped, "stop_waiting": stop_waiting}
    confirm: str | None = None

    async def process(services: Services, run_id: UUID) -> RunView | OutcomeUnknown:
        try:
            context = running.LOCAL_CONTEXT
            await retry_run(services, run_id, not_made=not_made, confirm=confirm, context=context, **changes)
        except OutcomeUnknown as error:
            return error
        return await running.serve_run(services.db, run_id)

    # Candidates that appear during the question are shown before anything is declared.
    while isinstance(outcome := running.call(run, process), OutcomeUnknown):
        display.print_unknown_orders(outcome.details)
        if not not_made:
            exit_with_error("Check with the provider. Add --not-made if the orders were not executed.")
        price = f"{outcome.details['usd']:.2f} USD"
        typer.confirm(f"None of them was executed. Order again for {price}?", abort=True, err=True)
        confirm = outcome.details["confirm"]
    display.print_run(outcome, as_json)


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
    from runs.start import fork_run

    changes: dict[str, Any] = {"revision": revision, "project": project, "edits": _json_of(edits)}
    changes |= {"options": _options(option), "budget_usd": _usd(budget)}
    _change(run, as_json, lambda services, run_id, context: fork_run(services, run_id, context=context, **changes))


def _change(run: str | None, as_json: bool, change: Callable[[Services, UUID, Any], Awaitable[object]]) -> None:
    """Change a run and print it, or the new run that the change has started."""
    from cli import display, running
    from storage.runs import RunRow

    async def process(services: Services, run_id: UUID) -> RunView:
        changed = await change(services, run_id, running.LOCAL_CONTEXT)
        return await running.serve_run(services.db, changed.id if isinstance(changed, RunRow) else run_id)

    display.print_run(running.call(run, process), as_json)


# How the texts of options are read. Each of these functions raises BadParameter.


def _numbers(values: Sequence[str] | None, option: str) -> list[int]:
    """Return the numbers of an option: `1,3`, or given several times."""
    found = [part for value in values or () for part in re.split(r"[,\s]+", value.strip())]
    if not all(re.fullmatch("[0-9]{1,4}", part) for part in found):
        raise typer.BadParameter(f"{option} takes numbers, such as 1,3.")
    return [int(part) for part in found]


def _pairs(values: Sequence[str] | None, option: str) -> dict[str, str]:
    """Return the values of an option by name: `name=text`, given several times."""
    found = [value.partition("=") for value in values or ()]
    if not all(name and separator for name, separator, _ in found):
        raise typer.BadParameter(f"{option} takes a name and a value, joined by =, such as 2=text.")
    return {name: value for name, _, value in found}


def _numbered(values: Sequence[str] | None, option: str) -> dict[int, str]:
    """Return the values of an option by number: `2=text`, given several times."""
    pairs = _pairs(values, option)
    return dict(zip(_numbers(list(pairs), option), pairs.values(), strict=True))


def _options(values: Sequence[str] | None) -> dict[str, int]:
    """Return the options of a project by name: `clips=2`, given several times."""
    pairs = _pairs(values, "--option")
    return dict(zip(pairs, _numbers(list(pairs.values()), "--option"), strict=True))


def _usd(amount: float | None) -> Decimal | None:
    return None if amount is None else Decimal(str(amount))


def _clip_notes(values: Sequence[str] | None) -> list[Any]:
    """Return the clips to generate again: `1,3`, or `3:too dark`, given several times."""
    notes: list[Any] = []
    for value in values or ():
        clips, _, comment = value.partition(":")
        notes += [{"clip": clip, "comment": comment.strip()} for clip in _numbers([clips], "--clips")]
    return notes


def _with_texts(edits: Any, texts: Mapping[str, Any]) -> Any:
    """Return the edits of a film with the texts that are given, or the edits as they are without any."""
    given = {name: text for name, text in texts.items() if text is not None}
    if given and isinstance(edits, list):
        raise typer.BadParameter("--edits with a list of ideas excludes texts of the film.")
    return {**(edits or {}), **given} if given else edits


def _json_of(value: str | None) -> Any:
    """Return the value of JSON text or of the file `@FILE`, or None."""
    if value is None:
        return None
    try:
        return json.loads(Path(value[1:]).read_text() if value.startswith("@") else value)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--edits takes JSON, or @ and the name of a file with JSON: {error}.") from None
