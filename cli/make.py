"""`myloware make`: make a video in one terminal, with live progress and prompts at the gates."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import typer

from api.http_server import listen_on_free_port, run_server, url_of
from api.settings import OPENAI_URL, Settings
from api.settings_check import check_settings
from cli.files import copy_film
from cli.gate_prompt import GatePrompt
from cli.lines import LineReader
from cli.local_services import sandbox_notice, sandboxed_services
from cli.output import exit_with_error, program, stderr
from cli.progress import ProgressReporter
from cli.running import LOCAL_CONTEXT
from cli.serve import open_services
from cli.tables import print_review
from graph.decisions import DecisionInput
from graph.review_content import FilmContent, Review, ReviewContent
from graph.status import TERMINAL_STATUSES
from runs import queries
from runs.decide import decide
from runs.queries import RunView
from runs.services import Services
from runs.start import start_run
from runs.worker import run_own_worker
from storage.events import list_events

POLL_INTERVAL_SECONDS = 0.2


@dataclass(frozen=True)
class NewRun:
    """The brief and the project of a run to start."""

    brief: str
    project: str


def check_unattended(settings: Settings) -> None:
    """Exit with a message if approving without a person could cost money or publish."""
    paid = []
    if not settings.models_missing:
        is_openai = settings.openai_base_url in (None, OPENAI_URL)
        if is_openai or settings.usd_per_million_input_tokens or settings.usd_per_million_output_tokens:
            paid.append("the language model (OPENAI_API_KEY)")
    if not settings.video_missing and _clip_prices(settings) != {Decimal(0)}:
        paid.append("the video server (VIDEO_MODEL)")
    if not settings.publisher_missing and settings.publish_folder is None:
        paid.append("the publisher (UPLOAD_POST_API_KEY)")
    if paid:
        exit_with_error(
            f"--yes is refused because of {', '.join(paid)}: a person approves what costs or is published."
            " Leave --yes out, or add --sandbox."
        )


def _clip_prices(settings: Settings) -> set[Decimal]:
    projects, server = check_settings(settings)
    return {server.video.price(project.clip_seconds, project.clip_size) for project in projects.values()}


async def make(settings: Settings, source: NewRun | str, *, flags: Sequence[str], yes: bool, as_json: bool) -> None:
    """Make a film: start a run, or go on with the one whose id starts with `source`. Exits with 1 if it fails.

    `flags` are the options that a command which goes on with the run needs too.
    """
    started_at = time.monotonic()
    listening = listen_on_free_port()
    reporter = ProgressReporter(as_json, sandbox_notice(settings))
    with reporter.status:
        reporter.status.update("Starting the database" + (" and the sandbox" if sandboxed_services(settings) else ""))
        async with (
            open_services(settings, webhooks_to=url_of(listening), worker=None) as state,
            # Providers send their webhooks here, as to any server.
            run_server(state, listening),
        ):
            run_id = await _open_run(state.services, source)
            async with run_own_worker(state.services, state.queue, str(run_id)):
                try:
                    run = await _drive_run(state.services, reporter, run_id, is_new=isinstance(source, NewRun), yes=yes)
                except (asyncio.CancelledError, typer.Exit):
                    # Printed before the worker has stopped, which can take seconds.
                    reporter.report_stop(" ".join([program(), "make", *flags, "--run", str(run_id)]))
                    raise
            film = await _copy_completed(state.services, run, settings.data_dir.absolute() / "films")
    reporter.report_end(run, film, time.monotonic() - started_at)
    if run.status != "completed":
        raise typer.Exit(1)


async def _open_run(services: Services, source: NewRun | str) -> UUID:
    if isinstance(source, str):
        return (await queries.get_run(services.db, await queries.find_run_id(services.db, source))).id
    return (await start_run(services, project=source.project, brief=source.brief, context=LOCAL_CONTEXT)).id


async def _drive_run(
    services: Services, reporter: ProgressReporter, run_id: UUID, *, is_new: bool, yes: bool
) -> RunView:
    """Report the events of a run and decide at its gates until it has ended."""
    reporter.report_start(run_id)
    prompt = GatePrompt(services, run_id, LineReader())
    last_seq = 0 if is_new else (await queries.get_run(services.db, run_id)).last_seq
    while True:
        run = await queries.get_run_view(services.db, run_id)
        for event in await list_events(services.db, run_id, after=last_seq):
            last_seq = event.seq
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
    decision = DecisionInput(verdict="approve", digest=review.digest)
    await decide(services, run_id, review.gate, decision, LOCAL_CONTEXT)


def _is_own_offer(services: Services, content: ReviewContent) -> bool:
    """Return whether the offer is that of this process, whose providers were checked to be free."""
    if isinstance(content, FilmContent):
        return content.publisher in ("", services.ledger.providers["publication"].name)
    if content.model != services.video.model:
        return False
    return content.usd_per_clip == services.video.price(content.seconds, content.size)


async def _copy_completed(services: Services, run: RunView, folder: Path) -> Path | None:
    return await copy_film(services, run, folder) if run.status == "completed" else None
