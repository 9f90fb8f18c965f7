"""Drive one run in the terminal until its end: with a server for webhooks, a worker, and prompts at the gates."""

import asyncio
import socket
from pathlib import Path
from uuid import UUID

import typer

from api.http_server import run_server
from api.settings import Settings
from cli.display import ProgressReporter, print_review
from cli.files import copy_film
from cli.gate_prompt import GatePrompt
from cli.lines import LineReader
from cli.output import exit_with_error, stderr
from cli.running import LOCAL_CONTEXT
from cli.serve import open_state
from graph.decisions import DecisionInput
from graph.review_content import FilmContent, Review, ReviewContent
from graph.status import TERMINAL_STATUSES
from prompts.project import VideoChoice
from providers.video_profiles import ProfileError
from runs import queries
from runs.decide import decide
from runs.queries import RunView
from runs.services import Services
from runs.start import start_run
from runs.worker import run_worker
from storage.events import list_events
from storage.runs import RunRow

POLL_INTERVAL_SECONDS = 0.2


async def drive_run(
    settings: Settings,
    listening: socket.socket,
    reporter: ProgressReporter,
    brief: str,
    project: str,
    go_on: str | None,
    *,
    command: str,
    yes: bool,
) -> tuple[RunView, Path | None]:
    """Return a run at its end, and the copy of its film if it is completed.

    The run is made from the brief, or the one whose id starts with `go_on`; `settings` are complete. `command` goes on
    with the run if it is followed by its id.
    """
    # Providers send their webhooks here, as to any server.
    async with open_state(settings) as state, run_server(state, listening):
        opened = await _open_run(state.services, brief, project, go_on)
        async with run_worker(state.services, only=str(opened.id)):
            try:
                last_seq = 0 if go_on is None else opened.last_seq
                run = await _follow_run(state.services, reporter, opened.id, last_seq, yes=yes)
            except (asyncio.CancelledError, typer.Exit):
                # Printed before the worker has stopped, which can take seconds.
                reporter.report_stop(f"{command} {opened.id}")
                raise
        if run.status != "completed":
            return run, None
        return run, await copy_film(state.services, run, settings.data_dir.absolute() / "films")


async def _open_run(services: Services, brief: str, project: str, go_on: str | None) -> RunRow:
    if go_on is None:
        return await start_run(services, project=project, brief=brief, context=LOCAL_CONTEXT)
    return await queries.get_run(services.db, await queries.find_run_id(services.db, go_on))


async def _follow_run(services: Services, reporter: ProgressReporter, run_id: UUID, seq: int, *, yes: bool) -> RunView:
    """Report the events of a run after `seq` and decide at its gates until it has ended."""
    reporter.report_start(run_id)
    prompt = GatePrompt(services, run_id, LineReader())
    while True:
        run = await queries.get_run_view(services.db, run_id)
        for event in await list_events(services.db, run_id, after=seq):
            seq = event.seq
            reporter.report_event(event)
        if run.status in TERMINAL_STATUSES:
            return run
        if run.review and yes:
            await _approve(services, reporter, run_id, run.review)
        elif run.review:
            reporter.status.stop()
            await prompt.decide(run.review)
            reporter.status.start()
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


async def _approve(services: Services, reporter: ProgressReporter, run_id: UUID, review: Review) -> None:
    """Approve a review without a person, if it is one of this process's own providers."""
    if not _is_own_offer(services, review.content):
        exit_with_error("The review is of a process with other settings: decide it yourself, without --yes.")
    if not reporter.as_json:
        print_review(stderr, review.content)
        stderr.print("approved because of [bold]--yes[/]")
    await decide(services, run_id, review.gate, DecisionInput(verdict="approve", digest=review.digest), LOCAL_CONTEXT)


def _is_own_offer(services: Services, content: ReviewContent) -> bool:
    """Return whether the offer is that of this process: its providers were checked to be free."""
    if isinstance(content, FilmContent):
        return services.ledger.find_provider("publication", content.publisher) is not None
    if content.speech and content.speech.model_copy(update={"voice": ""}) != services.speech:
        return False
    choice = VideoChoice(provider=content.provider or None, model=content.model, sound=content.sound)
    try:
        return services.video.offer(content.seconds, content.size, choice).usd_per_clip == content.usd_per_clip
    except ProfileError:
        return False
