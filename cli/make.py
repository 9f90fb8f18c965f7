"""`myloware make`: make a video in one terminal, with live progress and prompts at the gates."""

import asyncio
import json
import re
import shutil
import time
from pathlib import Path
from uuid import UUID

import typer
from pydantic import TypeAdapter
from rich.prompt import Prompt
from rich.status import Status

from api.http_server import listen_on_free_port, run_server, url_of
from api.settings import Settings
from cli.local_services import sandbox_notice, sandboxed_services
from cli.output import exit_with_error, print_review, stderr, stdout
from cli.runs import LOCAL_CONTEXT
from cli.serve import open_services
from graph.decisions import DecisionInput, verdict_of
from graph.review_content import Review, ReviewContent
from graph.status import TERMINAL_STATUSES
from providers.orders import OrderKey
from runs import queries
from runs.decide import decide
from runs.errors import RunError
from runs.queries import RunView
from runs.services import Services
from runs.start import start_run
from storage.events import Event, list_events

POLL_INTERVAL_SECONDS = 0.2
MAX_TITLE_CHARACTERS = 40

_event = TypeAdapter(Event)


async def make(settings: Settings, brief: str, project: str, *, yes: bool, as_json: bool) -> None:
    """Make a film from `brief`. Exits with status 1 if the run fails."""
    started_at = time.monotonic()
    listening = listen_on_free_port()
    reporter = ProgressReporter(as_json, sandbox_notice(settings))
    with reporter.status:
        reporter.status.update("Starting the database" + (" and the sandbox" if sandboxed_services(settings) else ""))
        async with (
            open_services(settings, webhooks_to=url_of(listening), with_worker=True) as state,
            # Providers send their webhooks here, as to any server.
            run_server(state, listening),
        ):
            try:
                run = await _drive_run(state.services, reporter, brief, project, yes=yes)
                film = await _copy_film(state.services, run, settings.data_dir.absolute() / "films")
            except RunError as error:
                exit_with_error(error.message)
    reporter.report_end(run, film, time.monotonic() - started_at)
    if run.status != "completed":
        raise typer.Exit(1)


class ProgressReporter:
    """Reports the progress of a run, as text or as JSON lines."""

    def __init__(self, as_json: bool, sandbox_notice: str | None) -> None:
        self.as_json = as_json
        self.sandbox_notice = sandbox_notice
        self.status = Status("…", console=stderr)

    def report_event(self, event: Event) -> None:
        """Print an event of the run."""
        if self.as_json:
            print(_event.dump_json(event).decode(), flush=True)  # noqa: T201 - the output of the program
            return
        text = _describe_event(event)
        if text and event.kind == "order.progress":
            self.status.update(text)
        elif text:
            stderr.print(f"[dim]{event.created_at:%H:%M:%S}[/] {text}")

    def report_end(self, run: RunView, film: Path | None, seconds: float) -> None:
        """Print the result of the run."""
        if self.as_json:
            result = {"run": run.model_dump(mode="json"), "film": str(film) if film else None}
            print(json.dumps(result), flush=True)  # noqa: T201 - the output of the program
        elif run.error:
            stderr.print(f"[red]{run.error.code}[/]: {run.error.message}", soft_wrap=True)
        else:
            length, spent = run.artifacts["final_video"]["seconds"], run.cost.spent_usd
            currency = "USD of the sandbox's play money" if self.sandbox_notice else "USD"
            stderr.print(f"[green]completed[/] in {seconds:.0f} s: {length:.2f} s of film for {spent:.2f} {currency}")
            stdout.print(str(film), soft_wrap=True)


async def _drive_run(services: Services, reporter: ProgressReporter, brief: str, project: str, *, yes: bool) -> RunView:
    """Start a run, report its events and decide at its gates until it has ended."""
    if reporter.sandbox_notice and not reporter.as_json:
        stderr.print(reporter.sandbox_notice)
    run_id = (await start_run(services, project=project, brief=brief, context=LOCAL_CONTEXT)).id
    last_seq = 0
    while True:
        run = await queries.get_run_view(services.db, run_id)
        for event in await list_events(services.db, run_id, after=last_seq):
            last_seq = event.seq
            reporter.report_event(event)
        if run.status in TERMINAL_STATUSES:
            return run
        if run.review:
            answer = await _ask(run.review.content, reporter, yes=yes)
            await _decide(services, run_id, run.review, answer)
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


async def _ask(content: ReviewContent, reporter: ProgressReporter, *, yes: bool) -> str:
    """Show the review and return the answer of the person, or "yes" without asking."""
    if reporter.as_json:
        return "yes"
    reporter.status.stop()
    print_review(stderr, content)
    if yes:
        answer = "yes"
        stderr.print("approved because of [bold]--yes[/]")
    else:
        question = "Approve? [bold]yes[/], [bold]no[/], or the changes you want"
        answer = await asyncio.to_thread(Prompt.ask, question, console=stderr)
    reporter.status.start()
    return answer


async def _decide(services: Services, run_id: UUID, review: Review, answer: str) -> None:
    is_approved = answer.strip().lower() in ("yes", "y")
    comment = "" if is_approved or answer.strip().lower() in ("no", "n") else answer
    decision = DecisionInput(verdict=verdict_of(is_approved, comment), comment=comment, digest=review.digest)
    await decide(services, run_id, review.gate, decision, LOCAL_CONTEXT)


def _describe_event(event: Event) -> str | None:
    payload = event.payload
    match event.kind:
        case "step.started":
            return f"[cyan]{payload['step']}[/]"
        case "order.submitted":
            return f"  {_order_name(event)} is ordered ({payload['task_id']})"
        case "order.progress":
            return f"{_order_name(event)}: {payload['progress']:.0%}"
        case "order.settled":
            return f"  {_order_name(event)} is done"
        case "order.failed" | "order.refused":
            return f"  [red]{_order_name(event)} failed[/]: {payload['message']}"
        case "webhook.received":
            return f"  [dim]webhook {payload['type']}[/]"
    return None


def _order_name(event: Event) -> str:
    """Return the name of the order that the event is about; empty for a model call."""
    key = OrderKey.parse(event.subject or "")
    return {"clip": f"clip {key.number}", "render": "the film", "publication": "the publication"}.get(key.kind, "")


async def _copy_film(services: Services, run: RunView, folder: Path) -> Path | None:
    """Copy the film to `folder`, named after its title. Returns None for a run that did not complete."""
    film = run.artifacts.get("final_video")
    if film is None or run.status != "completed":
        return None
    title = re.sub(r"[^a-z0-9]+", "-", run.artifacts["ideas"]["title"].lower()).strip("-")[:MAX_TITLE_CHARACTERS]
    path = folder / f"{title or run.project}-{str(run.run_id)[:8]}.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(shutil.copyfile, await services.artifacts.local_path(film["digest"]), path)
    return path
