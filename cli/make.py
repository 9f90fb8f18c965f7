"""`myloware make`: make a video in one terminal, with live progress and prompts at the gates."""

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import typer

from api.checked_settings import check_settings
from api.http_server import listen, run_server, url_of
from api.settings import OPENAI_URL, Settings
from cli.display import ProgressReporter, print_review
from cli.files import copy_film
from cli.gate_prompt import GatePrompt
from cli.lines import LineReader
from cli.local_services import sandbox_notice
from cli.output import exit_with_error, program, stderr
from cli.running import LOCAL_CONTEXT
from cli.serve import open_services
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


def check_unattended(settings: Settings) -> None:
    """Exit with a message if approving without a person could cost money or publish."""
    paid = []
    is_openai = settings.openai_base_url in (None, OPENAI_URL)
    missing = settings.missing_services
    if "language model and moderation" not in missing and (is_openai or settings.usd_of_tokens(1, 1)):
        paid.append("the language model (OPENAI_API_KEY)")
    if "video" not in missing and _clip_prices(settings) != {Decimal(0)}:
        paid.append("the video server (VIDEO_MODEL)")
    if "publishing" not in missing and settings.upload_post_api_key:
        paid.append("the publisher (UPLOAD_POST_API_KEY)")
    is_speech_paid = settings.speech_base_url is not None and settings.speech_price > 0
    paid += ["the speech server (SPEECH_USD_PER_1000_CHARACTERS)"] * is_speech_paid
    if paid:
        exit_with_error(
            f"--yes is refused because of {', '.join(paid)}: a person approves what costs or is published."
            " Leave --yes out, or add --sandbox."
        )


def _clip_prices(settings: Settings) -> set[Decimal]:
    checked = check_settings(settings)
    projects = [checked.projects[name] for name in checked.offered - checked.refusals().keys()]
    return {checked.video.offer(each.clip_seconds, each.clip_size, each.video).usd_per_clip for each in projects}


async def make(
    settings: Settings, brief: str, project: str, go_on: str | None, *, flags: Sequence[str], yes: bool, as_json: bool
) -> None:
    """Make a film from the brief, or go on with the run whose id starts with `go_on`. Exits with 1 if it fails.

    `flags` are the options that a command which goes on with the run needs too.
    """
    started_at = time.monotonic()
    listening = listen()
    reporter = ProgressReporter(as_json, sandbox_notice(settings))
    with reporter.status:
        reporter.status.update("Starting the database" + (" and the sandbox" if settings.missing_services else ""))
        async with (
            open_services(settings, webhooks_to=url_of(listening)) as state,
            # Providers send their webhooks here, as to any server.
            run_server(state, listening),
        ):
            opened = await _open_run(state.services, brief, project, go_on)
            async with run_worker(state.services, state.queue, only=str(opened.id)):
                try:
                    last_seq = 0 if go_on is None else opened.last_seq
                    run = await _drive_run(state.services, reporter, opened.id, last_seq, yes=yes)
                except (asyncio.CancelledError, typer.Exit):
                    # Printed before the worker has stopped, which can take seconds.
                    reporter.report_stop(" ".join([program(), "make", *flags, "--run", str(opened.id)]))
                    raise
            is_completed = run.status == "completed"
            folder = settings.data_dir.absolute() / "films"
            film = await copy_film(state.services, run, folder) if is_completed else None
    reporter.report_end(run, film, time.monotonic() - started_at)
    if not is_completed:
        raise typer.Exit(1)


async def _open_run(services: Services, brief: str, project: str, go_on: str | None) -> RunRow:
    if go_on is None:
        return await start_run(services, project=project, brief=brief, context=LOCAL_CONTEXT)
    return await queries.get_run(services.db, await queries.find_run_id(services.db, go_on))


async def _drive_run(services: Services, reporter: ProgressReporter, run_id: UUID, seq: int, *, yes: bool) -> RunView:
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
