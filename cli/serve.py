"""Serve the API and work on runs until a signal, or drive one run in the terminal until its end."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import typer
from rich.markup import escape

from api.app import create_app
from api.http_server import run_server
from api.listening import listen, url_of
from api.monitoring import serve_metrics, start_traces
from api.settings import Settings
from api.settings_types import SettingsError
from api.wiring import AppState, open_app_state, reconcile_keys
from cli.display import ProgressReporter, print_review
from cli.files import copy_film
from cli.gate_prompt import GatePrompt
from cli.lines import LineReader
from cli.local_services import sandbox_notice, with_local_services
from cli.output import exit_with_error, print_notice, stderr, stdout
from cli.running import LOCAL_CONTEXT, on_stop_signal
from console.sessions import create_sign_in_link
from graph.decisions import DecisionInput
from graph.review_content import FilmContent, Review, ReviewContent
from graph.status import TERMINAL_STATUSES
from prompts.project import VideoChoice
from providers.base import ProviderError
from providers.video_profiles import ProfileError
from runs import queries
from runs.decide import decide
from runs.queries import RunView
from runs.services import Services
from runs.start import start_run
from runs.worker import run_worker
from storage.events import list_events
from storage.migrate import DatabaseUnreachable, DatabaseUnusable, check_database
from storage.runs import RunRow

DATABASE_INTERVAL_SECONDS = 1.0
POLL_INTERVAL_SECONDS = 0.2


@asynccontextmanager
async def open_services(settings: Settings, *, webhooks_to: str | None) -> AsyncIterator[AppState]:
    """Open the app state with local services for everything that is not configured."""
    async with with_local_services(settings, webhooks_to=webhooks_to) as complete, open_state(complete) as state:
        yield state


@asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[AppState]:
    """Open the app state of complete settings, and check that files can be stored before anything is bought."""
    async with open_app_state(settings) as state:
        await state.services.artifacts.probe()
        yield state


async def serve(
    settings: Settings, host: str, port: int, *, with_worker: bool, project: str = "shorts", brief: str | None = None
) -> None:
    """Serve until a signal to stop, and start a run of `project` if there is a brief.

    Raises SettingsError, also for a port that is in use, and RunError for a run that cannot start.
    """
    start_traces(settings)
    await _wait_for_database(settings)
    listening = listen(host, port)
    url = url_of(listening)
    async with (
        open_services(settings, webhooks_to=url) as state,
        serve_metrics(state),
        run_worker(state.services) if with_worker else nullcontext(),
    ):
        new_key = await reconcile_keys(settings, state.services.db)
        async with run_server(state, listening):
            if new_key:
                stdout.print(f"Your API key, shown only once: [bold]{new_key}[/]", soft_wrap=True)
            for warning in settings.weak_keys():
                print_notice(f"[yellow]Warning:[/] {warning}")
            if notice := sandbox_notice(settings):
                print_notice(notice)
            page = ""
            if brief is not None:
                run = await start_run(state.services, project=project, brief=brief, context=LOCAL_CONTEXT)
                page = f"/runs/{run.id}"
            base_url = settings.public_url or url
            # Not to a log, which others may read.
            if sys.stdout.isatty() and (link := await create_sign_in_link(state.services.db, base_url, page)):
                stdout.print(f"Sign in with your browser, once, within ten minutes: {link}", soft_wrap=True)
            stdout.print(f"MyloWare is running at {url}, API docs at {url}/docs. Stop it with Ctrl-C.", soft_wrap=True)
            checks = asyncio.create_task(_report_unreachable(state.services))
            await _wait_for_signal()
            checks.cancel()


async def _report_unreachable(services: Services) -> None:
    """Warn of the providers of clips that do not answer. The others are not affected."""
    for provider in services.ledger.providers["clip"]:
        try:
            await provider.check()
        except ProviderError as error:
            print_notice(f"[yellow]Warning:[/] {escape(error.message)} Its clips wait.")


async def work(settings: Settings) -> None:
    """Run a worker until a signal to stop."""
    start_traces(settings)
    await _wait_for_database(settings)
    async with (
        open_services(settings, webhooks_to=None) as state,
        serve_metrics(state),
        run_worker(state.services),
    ):
        stdout.print("The worker is running. Stop it with Ctrl-C.")
        await _wait_for_signal()


def openapi_description() -> dict[str, Any]:
    """Return the OpenAPI description of the API."""
    # This app serves nothing, so that its state is never used.
    return create_app(cast("AppState", None)).openapi()


async def _wait_for_database(settings: Settings) -> None:
    """Wait until the database of the settings can be written. Raises SettingsError if that would not help."""
    is_waiting = False
    while settings.database_url:
        try:
            await check_database(settings.session_url)
            return
        except DatabaseUnreachable as error:
            if not is_waiting:
                print_notice(escape(f"{settings.session_variable}: {error} Waiting for it."))
            is_waiting = True
        except DatabaseUnusable as error:
            raise SettingsError(f"{settings.session_variable}: {error}") from error
        await asyncio.sleep(DATABASE_INTERVAL_SECONDS)


async def _wait_for_signal() -> None:
    """Wait for a signal to stop, so that everything is closed before the program ends."""
    stop = asyncio.Event()
    on_stop_signal(lambda _: stop.set())
    await stop.wait()


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
