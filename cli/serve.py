"""Run the API server, the worker and the sandbox."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast

from api.app import create_app
from api.http_server import run_server
from api.listening import listen, url_of
from api.settings import Settings
from api.settings_types import SettingsError
from api.wiring import AppState, open_app_state, reconcile_keys
from cli.local_services import sandbox_notice, with_local_services
from cli.output import stderr, stdout
from cli.running import LOCAL_CONTEXT, on_stop_signal
from console.sessions import create_sign_in_link
from providers.base import ProviderError
from runs.services import Services
from runs.start import start_run
from runs.worker import run_worker
from storage.migrate import DatabaseUnreachable, DatabaseUnusable, check_database

DATABASE_INTERVAL_SECONDS = 1.0


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
    await _wait_for_database(settings)
    listening = listen(host, port)
    url = url_of(listening)
    async with (
        open_services(settings, webhooks_to=url) as state,
        run_worker(state.services) if with_worker else nullcontext(),
    ):
        new_key = await reconcile_keys(settings, state.services.db)
        async with run_server(state, listening):
            if new_key:
                stdout.print(f"Your API key, shown only once: [bold]{new_key}[/]", soft_wrap=True)
            for warning in settings.weak_keys():
                stderr.print(f"[yellow]Warning:[/] {warning}", soft_wrap=True)
            if notice := sandbox_notice(settings):
                stderr.print(notice)
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
            stderr.print(f"[yellow]Warning:[/] {error.message} Its clips wait.", soft_wrap=True)


async def work(settings: Settings) -> None:
    """Run a worker until a signal to stop."""
    await _wait_for_database(settings)
    async with open_services(settings, webhooks_to=None) as state, run_worker(state.services):
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
                stderr.print(f"{settings.session_variable}: {error} Waiting for it.", soft_wrap=True, markup=False)
            is_waiting = True
        except DatabaseUnusable as error:
            raise SettingsError(f"{settings.session_variable}: {error}") from error
        await asyncio.sleep(DATABASE_INTERVAL_SECONDS)


async def _wait_for_signal() -> None:
    """Wait for a signal to stop, so that everything is closed before the program ends."""
    stop = asyncio.Event()
    on_stop_signal(lambda _: stop.set())
    await stop.wait()
