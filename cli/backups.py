"""Back up and restore the data that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from rich.progress import track

from api.wiring import open_artifacts
from cli.local_services import checked_settings, with_local_services
from cli.output import exit_with_error, stderr, stdout
from providers.media.certificates import FILE_NAME
from storage.backup import BackupError, Service, restore_backup, write_backup
from storage.database import Database, open_pool
from storage.migrate import DatabaseUnusable, check_database, migrate
from storage.postgres_binaries import EmbeddedPostgresError

#: Shows the progress in a terminal.
TRACK = partial(track, description="Stored files", console=stderr, transient=True, disable=not stderr.is_terminal)


@asynccontextmanager
async def _open_service(file: Path) -> AsyncIterator[Service]:
    """Open the data of the settings, and leave the schema as it is. Exits with the message of an error."""
    try:
        async with with_local_services(checked_settings(), with_sandbox=False) as settings:
            url, key_file = settings.session_url, settings.data_dir.absolute() / FILE_NAME
            await check_database(url)
            async with open_pool(url, name="myloware-backup", prepare=False) as pool:
                db = Database(pool)
                yield Service(url, db, partial(open_artifacts, settings, db), key_file)
    except OSError as error:
        exit_with_error(f"{error.filename or file}: {error.strerror or error}.")
    except (BackupError, DatabaseUnusable, EmbeddedPostgresError) as error:
        exit_with_error(str(error))


async def back_up(file: Path) -> None:
    """Write a backup, and print what it contains."""
    async with _open_service(file) as service:
        manifest = await write_backup(service, file.absolute(), TRACK)
    facts = f"runs: {manifest.runs}, stored files: {manifest.files}"
    stdout.print(f"{file}: {facts}. It is as secret as the database.", soft_wrap=True, markup=False)
    if missing := ", ".join(digest[:12] for digest in manifest.missing):
        stderr.print(f"[yellow]Warning:[/] the store lacks or has changed these files: {missing}", soft_wrap=True)


async def restore(file: Path, *, nothing_since: bool) -> None:
    """Restore a backup, update its schema, and print what waits for a person."""
    async with _open_service(file) as service:
        manifest = await restore_backup(service, file.absolute(), TRACK, nothing_since=nothing_since)
        await migrate(service.dsn)
    stdout.print(f"Restored: runs: {manifest.runs}, stored files: {manifest.files}.", soft_wrap=True)
    if manifest.unfinished and not nothing_since:
        since = f"{manifest.backup_at:%Y-%m-%d %H:%M} UTC"
        stderr.print(f"Runs on hold: {manifest.unfinished}. What they ordered since {since} is looked up first.")
