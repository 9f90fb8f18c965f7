"""Run the work of a command: until it ends or a signal stops it, with what it needs opened around it."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

import typer
import uvloop

from api.settings import Settings
from api.settings_types import SettingsError
from cli.local_services import checked_settings, with_local_services
from cli.output import exit_with_error
from providers.base import ProviderError
from runs.errors import RunError
from runs.queries import RunView, find_run_id, get_run_view
from storage.actors import LOCAL, RequestContext
from storage.database import Database, open_pool
from storage.migrate import DatabaseUnusable, is_migrated, migrate
from telemetry.logs import configure_logs

if TYPE_CHECKING:
    from runs.services import Services

T = TypeVar("T")

#: The operator sends every request of the command line.
LOCAL_CONTEXT = RequestContext(LOCAL, "cli")


def run(work: Coroutine[Any, Any, T], settings: Settings | None = None) -> T:
    """Return the result of the work. Exits with a message on a known error. Services log by their settings.

    SIGINT, SIGTERM and SIGHUP cancel the work, which closes everything that it opened, and exit with status 130, 143
    and 129. Work that handles these signals itself replaces this.
    """
    if settings:
        configure_logs(settings.log_format, settings.log_level, settings.secrets)
    else:
        configure_logs()
    freeze_imports()
    received: list[int] = []

    async def cancelled_by_signals() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this coroutine runs in it

        def stop(number: int) -> None:
            # Once: a second signal must not interrupt the cleanup.
            if not received:
                received.append(number)
                task.cancel()

        on_stop_signal(stop)
        return await work

    try:
        return uvloop.run(cancelled_by_signals())
    except (SettingsError, RunError, ProviderError) as error:
        exit_with_error(str(error))
    except asyncio.CancelledError:
        raise typer.Exit(128 + received[0]) from None


def freeze_imports() -> None:
    """Enable garbage collection of what is created from now on: modules live to the end, and are many objects."""
    gc.freeze()
    gc.enable()


def on_stop_signal(stop: Callable[[int], None]) -> None:
    """Call `stop` with the number of each signal that requests the process to stop."""

    def hang_up(number: int) -> None:
        # The terminal was closed: whatever is printed from now on would raise.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):
            os.dup2(nowhere, output)
        stop(number)

    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which `nohup` sets
        handlers[signal.SIGHUP] = hang_up
    for number, handler in handlers.items():
        asyncio.get_running_loop().add_signal_handler(number, handler, number)


async def serve_run(db: Database, run_id: UUID) -> RunView:
    """Return a run to print, whose open review the operator is served with it. Raises RunNotFound."""
    return await get_run_view(db, run_id, served_to=LOCAL)


def read(function: Callable[[Database], Awaitable[T]]) -> T:
    """Return the result of a function that needs only the database. Exits with its error message on failure."""
    checked = checked_settings()

    async def process() -> T:
        async with with_local_services(checked, with_sandbox=False) as settings:
            try:
                if not await is_migrated(settings.session_url):
                    await migrate(settings.session_url)
            except DatabaseUnusable as error:
                raise SettingsError(f"{settings.session_variable}: {error}") from error
            async with open_pool(settings.session_url, name="myloware-cli", prepare=False) as pool:
                return await function(Database(pool))

    return run(process())


def read_run(run_id: str, function: Callable[[Database, UUID], Awaitable[T]]) -> T:
    """Return the result of a function that needs the database and a run, given by its id or the start of it."""

    async def process(db: Database) -> T:
        return await function(db, await find_run_id(db, run_id))

    return read(process)


def call(run_id: str | None, function: Callable[["Services", UUID], Awaitable[T]]) -> T:
    """Return the result of a function that needs the services and a run, given by its id or the start of it, or new.

    Exits with its error message on failure.
    """
    from api.wiring import open_app_state

    checked = checked_settings()

    async def process() -> T:
        async with with_local_services(checked, with_sandbox=False) as settings, open_app_state(settings) as state:
            services = state.services
            return await function(services, await find_run_id(services.db, run_id) if run_id else uuid4())

    return run(process())
