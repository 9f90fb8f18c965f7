"""Lists the product's threads in LangGraph Studio: `make studio THREADS=product` runs this beside Studio's server."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import httpx
import typer
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from api.settings import SettingsError
from api.studio_threads import HEADER
from cli.local_services import checked_settings, with_local_services
from cli.output import fail
from storage import chat_sessions, runs
from storage.database import Database, DatabaseUnavailable, open_pool
from storage.migrate import DatabaseUnusable, is_migrated

log = logging.getLogger(__name__)

#: How many of the newest runs and talks are listed, and how often they are looked for, in seconds.
LISTED = 200
EVERY = 2.0
#: How much of a brief stands in the list.
BRIEF = 200


async def main(server: str) -> None:
    """Say where the product's database is, which stays up meanwhile, and list its threads at `server`.

    Standard output gets two lines: the address, and the token of whoever lists. Ends when it is told to. Raises
    SettingsError where there is no database, or nothing of ours in it.
    """
    async with with_local_services(checked_settings(), with_sandbox=False) as settings:
        assert settings.database_url is not None  # noqa: S101 - completed says so
        dsn = settings.database_url.get_secret_value()
        try:
            there = await is_migrated(dsn)
        except DatabaseUnusable as error:
            raise SettingsError(f"DATABASE_URL: {error}") from error
        if not there:
            raise SettingsError("There are no threads to show: nothing of this version was run with this database yet.")
        token = secrets.token_urlsafe()
        print(dsn, token, sep="\n", flush=True)  # noqa: T201 - for whoever started this
        async with (
            open_pool(dsn, name="myloware-studio", read_only=True) as pool,
            get_client(url=server, headers={HEADER.decode(): token}) as studio,
        ):
            listing = asyncio.create_task(_list(Database(pool), studio))
            for name in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(name, listing.cancel)
            with suppress(asyncio.CancelledError):
                await listing


@dataclass(frozen=True)
class Thread:
    """A thread as the list shows it."""

    id: str
    graph: str
    begun_at: datetime
    about: dict[str, str]


async def _list(db: Database, studio: LangGraphClient) -> None:
    """Tell Studio's server which threads there are, and again what has changed."""
    told: dict[str, Thread] = {}
    while True:
        try:
            for thread in await _threads(db):
                if told.get(thread.id) != thread:
                    await studio.threads.create(thread_id=thread.id, graph_id=thread.graph, if_exists="do_nothing")
                    await studio.threads.update(thread.id, metadata=thread.about)
                    told[thread.id] = thread
        except (httpx.HTTPError, DatabaseUnavailable) as error:
            # Studio's server takes some seconds to start, and a database may be away for a while.
            log.info("the threads cannot be listed now: %r", error)
        await asyncio.sleep(EVERY)


async def _threads(db: Database) -> list[Thread]:
    """The newest threads, the newest last: lists show first what was changed last."""
    lines = [
        Thread(
            str(run["id"]),
            "line",
            run["created_at"],
            {"project": run["project"], "brief": run["brief"][:BRIEF], "status": run["status"]},
        )
        for run in await runs.list_runs(db, limit=LISTED)
    ]
    talks = [
        Thread(
            chat_sessions.thread_id_of(talk["id"]),
            "supervisor",
            talk["created_at"],
            {"session_id": talk["id"], "started_by": talk["started_by"]},
        )
        for talk in await chat_sessions.list_newest(db, limit=LISTED)
    ]
    return sorted([*lines, *talks], key=lambda thread: thread.begun_at)


def command(server: Annotated[str, typer.Argument(help="Where Studio's server answers, or will.")]) -> None:
    """List the product's threads in LangGraph Studio, until told to stop."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(main(server))
    except SettingsError as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(command)
