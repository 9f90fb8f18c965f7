"""The product's threads in LangGraph Studio: read-only for `make studio THREADS=product`, one as a copy for `RUN=ID`.

It names the checkpointer and the authorization handler to Studio's server, and runs the lister next to it. A write to
the product's threads is refused by the handler, by the checkpointer and by the database. The copy is in Studio's own
database, where its checkpointer keeps all threads, and can be changed.
"""

import asyncio
import hmac
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph_sdk import Auth, get_client
from langgraph_sdk.client import LangGraphClient

from api.settings import Settings
from api.settings_types import SettingsError
from api.wiring import open_artifacts
from chat.changes import STUDIO
from cli.local_services import checked_settings, with_local_services
from cli.running import run as run_work
from providers.base import ArtifactChanged, ArtifactMissing
from storage import chat_sessions, runs
from storage.actors import RequestContext
from storage.database import DATABASE_UNAVAILABLE, Database, open_pool
from storage.embedded_postgres import EmbeddedPostgres
from storage.migrate import DatabaseUnusable, is_migrated, migrate
from storage.private_folders import make_private
from storage.run_copies import copy_run
from storage.saver import READ_ONLY, ReadOnlySaver

log = logging.getLogger(__name__)

#: The number of newest runs, and of newest chat sessions, in the list.
MAX_LISTED = 200
REFRESH_INTERVAL_SECONDS = 2.0
MAX_BRIEF_CHARACTERS = 200
#: Environment variables: the connection string of the database, and the token of the lister.
DATABASE, TOKEN = "MYLOWARE_STUDIO_DATABASE", "MYLOWARE_STUDIO_TOKEN"
TOKEN_HEADER = b"x-myloware-token"
#: The two identities. Only the lister may create and update entries of the thread list.
LISTER, VIEWER = "lister", "viewer"

auth = Auth()


async def main(server: str, run_id: UUID | None, folder: Path) -> None:
    """Print two lines, the database's connection string and the lister's token, then list its threads at `server`.

    With a run, the database is Studio's own in `folder`, with a copy of the run. Keeps the database running and the
    list up to date until cancelled. Raises SettingsError if there is no database or no such run, or it was never used
    by this version.
    """
    async with with_local_services(checked_settings(), with_sandbox=False) as settings:
        dsn = settings.session_url
        try:
            migrated = await is_migrated(dsn)
        except DatabaseUnusable as error:
            raise SettingsError(f"DATABASE_URL: {error}") from error
        if not migrated:
            raise SettingsError("There are no threads to show: this version has not run with this database.")
        token = secrets.token_urlsafe()
        async with (
            _own_database(settings, run_id, folder) if run_id else nullcontext(dsn) as dsn,
            open_pool(dsn, name="myloware-studio", read_only=True) as pool,
            get_client(url=server, headers={TOKEN_HEADER.decode(): token}) as studio,
        ):
            print(dsn, token, sep="\n", flush=True)  # noqa: T201 - read by .ci/studio
            await _list_threads(Database(pool), studio)


@asynccontextmanager
async def _own_database(settings: Settings, run_id: UUID, folder: Path) -> AsyncIterator[str]:
    """Copy the run into Studio's own database and store, and yield the database's connection string while it runs."""
    make_private(folder)
    server = EmbeddedPostgres(folder / "postgres")
    await asyncio.to_thread(server.start)
    try:
        await migrate(server.dsn)
        async with (
            open_pool(settings.session_url, name="myloware-studio", read_only=True) as source,
            open_pool(server.dsn, name="myloware-studio") as target,
        ):
            stored, copies = open_artifacts(settings, Database(source)), Database(target)
            files = await copy_run(Database(source), copies, run_id, RequestContext(STUDIO, "studio"))
            own = open_artifacts(settings.model_copy(update={"data_dir": folder, "store_url": None}), copies)
            for row in files:
                about = {name: row[name] for name in ("kind", "media_type", "facts")}
                try:
                    await own.store(await stored.local_path(row["digest"]), **about)
                except (ArtifactMissing, ArtifactChanged):
                    log.warning("The file %s… of the run is missing, and is not copied.", row["digest"][:12])
        yield server.dsn
    except LookupError as error:
        raise SettingsError(f"RUN: {error.args[0]}") from error
    finally:
        await asyncio.to_thread(server.stop)


@dataclass(frozen=True)
class ListedThread:
    """A thread as Studio lists it."""

    id: str
    graph: str
    created_at: datetime
    metadata: dict[str, str]


async def _list_threads(db: Database, studio: LangGraphClient) -> None:
    """Create and update the entries of Studio's thread list, for ever."""
    listed: dict[str, ListedThread] = {}
    while True:
        try:
            for thread in await _newest_threads(db):
                if listed.get(thread.id) != thread:
                    await studio.threads.create(thread_id=thread.id, graph_id=thread.graph, if_exists="do_nothing")
                    await studio.threads.update(thread.id, metadata=thread.metadata)
                    listed[thread.id] = thread
        except (httpx.HTTPError, *DATABASE_UNAVAILABLE) as error:
            # Studio's server takes some seconds to start, and the database may be unavailable for a while.
            log.info("Listing the threads failed, retrying: %r", error)
        await asyncio.sleep(REFRESH_INTERVAL_SECONDS)


async def _newest_threads(db: Database) -> list[ListedThread]:
    """Return the newest threads, oldest first: Studio lists first what was updated last."""
    threads: list[ListedThread] = []
    for run in await runs.list_runs(db, limit=MAX_LISTED):
        metadata = {"project": run.project, "brief": run.brief[:MAX_BRIEF_CHARACTERS], "status": run.status}
        threads.append(ListedThread(str(run.id), "run", run.created_at, metadata))
    for session in await chat_sessions.list_newest(db, limit=MAX_LISTED):
        thread_id = chat_sessions.thread_id_of(session.id)
        metadata = {"session_id": session.id, "actor_id": session.actor_id}
        threads.append(ListedThread(thread_id, "chat", session.created_at, metadata))
    return sorted(threads, key=lambda thread: thread.created_at)


def command(
    server: Annotated[str, typer.Argument(help="URL of Studio's server.")],
    run_id: Annotated[UUID | None, typer.Argument(help="Id of a run to copy.")] = None,
    folder: Annotated[Path, typer.Argument(help="Folder of Studio's own data.")] = Path("studio"),
) -> None:
    """List the product's threads in LangGraph Studio, or Studio's own with a copy of a run, until stopped."""
    os.umask(0o077)
    run_work(main(server, run_id, folder))


@asynccontextmanager
async def own_saver() -> AsyncIterator[AsyncPostgresSaver]:
    """Yield the checkpointer of Studio's server for its own database."""
    async with open_pool(os.environ[DATABASE], max_size=4, name="myloware-studio") as pool:
        yield AsyncPostgresSaver(pool)


@asynccontextmanager
async def saver() -> AsyncIterator[ReadOnlySaver]:
    """Yield the checkpointer of Studio's server."""
    async with open_pool(os.environ[DATABASE], max_size=4, name="myloware-studio", read_only=True) as pool:
        yield ReadOnlySaver(pool)


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> str:
    """Return the identity of a caller: the lister by its token, a viewer otherwise."""
    return LISTER if hmac.compare_digest(headers.get(TOKEN_HEADER, b""), os.environ[TOKEN].encode()) else VIEWER


@auth.on
async def authorize(ctx: Auth.types.AuthContext, value: Any) -> None:
    """Refuse every write of a viewer with status 403."""
    if ctx.action not in ("read", "search") and ctx.user.identity != LISTER:
        raise Auth.exceptions.HTTPException(403, READ_ONLY)


if __name__ == "__main__":
    typer.run(command)
