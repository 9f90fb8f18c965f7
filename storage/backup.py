"""Backups: one file with a snapshot of the database and the stored files that it names.

The dump is taken first. Stored files never change, and each is stored before its row, so those that are copied
afterwards are all that the dump names. The manifest comes last: a file without one is incomplete. A restore writes the
database last, in one transaction with the hold of its runs, so that an interrupted one leaves an empty database.
"""

import asyncio
import fnmatch
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, run
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, cast

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import BaseModel, ValidationError

from providers.base import ArtifactChanged, ArtifactMissing
from storage.artifacts import Artifacts, digest_of_file
from storage.database import Database, read_statements
from storage.migrate import MIGRATION_LOCK, unknown_migrations
from storage.postgres_binaries import client_program
from storage.private_folders import make_private

DUMP, KEY, STORE, MANIFEST = "database.dump", "c2pa.pem", "store/", "manifest.json"
#: Servers before version 17 do not know this setting, which the start of every dump has.
PUBLIC_TABLES = ("--schema=public", "--no-owner", "--no-privileges")
NEW_SETTING, START_BYTES = b"SET transaction_timeout = 0;\n", 64 * 1024

sql = read_statements("backup")
#: Returns the same files, and shows how many of them were requested.
Progress = Callable[[Sequence[str]], Iterable[str]]


class BackupError(Exception):
    """A backup cannot be written or restored; the message is for a person."""


class Manifest(BaseModel, frozen=True):
    """What a backup contains. `missing` are digests of files that were not in the store, or had changed there."""

    version: str
    server_version: int
    migrations: list[str]
    backup_at: datetime
    #: Whether no process could place orders at that time.
    is_idle: bool
    runs: int
    unfinished: int
    dump_digest: str
    files: int
    missing: list[str]


@dataclass(frozen=True)
class Service:
    """The data of a service: its database, its store, and the file of the key that signs its films, in its data folder.

    `open_store` opens the store with a folder for downloaded files.
    """

    dsn: str
    db: Database
    open_store: Callable[[Path], Artifacts]
    key_file: Path


async def write_backup(service: Service, file: Path, progress: Progress) -> Manifest:
    """Write a backup to a new file, while the service runs, and return its manifest.

    Raises BackupError, EmbeddedPostgresError, OSError, and Unavailable for a store that cannot be read.
    """
    if file.exists():
        raise BackupError(f"{file} exists. Give the backup another name.")
    if not await service.db.fetch_all(sql["tables"]):
        raise BackupError("The database has no tables: there is nothing to back up.")
    [facts] = await service.db.fetch_all(sql["facts"])
    partial, missing = file.with_name(f"{file.name}.part"), list[str]()
    with TemporaryDirectory(dir=file.parent, prefix=".backup-") as folder, tarfile.open(partial, "w") as tar:
        scratch = Path(folder)
        dump, store = scratch / DUMP, service.open_store(scratch / "cache")
        await asyncio.to_thread(_dump, service.dsn, facts["server_version"], dump)
        await asyncio.to_thread(tar.add, dump, DUMP)
        if service.key_file.exists():
            tar.add(service.key_file, KEY)
        digests = [row["digest"] for row in await service.db.fetch_all(sql["files"])]
        for digest in progress(digests):
            try:
                await asyncio.to_thread(tar.add, await store.local_path(digest), STORE + digest)
            except (ArtifactMissing, ArtifactChanged):
                missing.append(digest)
            shutil.rmtree(scratch / "cache", ignore_errors=True)
        facts |= {"dump_digest": digest_of_file(dump), "files": len(digests) - len(missing), "missing": missing}
        manifest = Manifest(version=version("myloware"), **facts)
        (scratch / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        tar.add(scratch / MANIFEST, MANIFEST)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(file)
    return manifest


async def restore_backup(service: Service, file: Path, progress: Progress, *, nothing_since: bool) -> Manifest:
    """Restore a backup into an empty database and a store, hold its runs, and return its manifest.

    `nothing_since` is the caller's assurance that nothing was placed after the backup, so that no run is held. The
    schema stays that of the backup. Raises BackupError, EmbeddedPostgresError, OSError, Unavailable, and
    ArtifactChanged for a stored file that is damaged.
    """
    if await service.db.fetch_all(sql["tables"]):
        advice = "Restore into an empty database, or into another MYLOWARE_DATA_DIR."
        raise BackupError(f"The database is not empty: it has tables, and a service may be using it. {advice}")
    make_private(data_dir := service.key_file.parent)
    with _opened(file) as (tar, manifest), TemporaryDirectory(dir=data_dir, prefix=".restore-") as folder:
        scratch = Path(folder)
        if nothing_since and not manifest.is_idle:
            raise BackupError("A service was running during the backup, so orders may have been placed since.")
        dump, store = _extract(tar, DUMP, scratch / DUMP), service.open_store(scratch / "cache")
        names = fnmatch.filter(tar.getnames(), f"{STORE}*")
        if digest_of_file(dump) != manifest.dump_digest or len(names) != manifest.files:
            raise BackupError(f"{file} is damaged: its dump or the number of its files does not match its manifest.")
        for name in progress(names):
            await store.put(await asyncio.to_thread(_extract, tar, name, scratch / "file"), name.removeprefix(STORE))
        if KEY in tar.getnames() and not service.key_file.exists():
            _extract(tar, KEY, scratch / "file").rename(service.key_file)
        await asyncio.to_thread(_load, service.dsn, dump, manifest, nothing_since)
    return manifest


@contextmanager
def _opened(file: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Open a backup that this version can restore. Raises BackupError."""
    try:
        with tarfile.open(file, "r:") as tar:
            manifest = Manifest.model_validate_json(cast("IO[bytes]", tar.extractfile(MANIFEST)).read())
            if newer := unknown_migrations(manifest.migrations):
                raise BackupError(f"{file} is of MyloWare {manifest.version}: this version does not know {newer[0]}.")
            yield tar, manifest
    except (tarfile.TarError, KeyError, ValidationError) as error:
        raise BackupError(f"{file} is no complete backup of MyloWare.") from error


def _extract(tar: tarfile.TarFile, name: str, to: Path) -> Path:
    with to.open("wb") as file:
        shutil.copyfileobj(cast("IO[bytes]", tar.extractfile(name)), file)
    return to


def _address(dsn: str) -> tuple[str, dict[str, str]]:
    """Return the address without its password, because every user can read arguments, and the environment with it."""
    parts: dict[str, Any] = dict(conninfo_to_dict(dsn))
    password = parts.pop("password", None)
    return make_conninfo(**parts), {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}


def _dump(dsn: str, server_version: int, to: Path) -> None:
    address, environment = _address(dsn)
    command = [client_program("pg_dump", server_version), *PUBLIC_TABLES, "--format=custom", "--no-unlogged-table-data"]
    command += ["--file", str(to), "--dbname", address]
    done = run(command, env=environment, stdin=DEVNULL, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise BackupError(f"The database cannot be dumped: {_first_error(done.stderr)}")


def _load(dsn: str, dump: Path, manifest: Manifest, nothing_since: bool) -> None:
    """Restore the dump and hold its runs, in one transaction. Without its last statements nothing is committed."""
    address, environment = _address(dsn)
    values = (f"lock={MIGRATION_LOCK}", f"since={manifest.backup_at.isoformat()}", f"released={nothing_since}")
    settings = [f"--set={value}" for value in ("ON_ERROR_STOP=1", *values)]
    restore = [client_program("pg_restore", manifest.server_version), *PUBLIC_TABLES, "--file=-", str(dump)]
    psql = [client_program("psql", 0), "--no-psqlrc", "--quiet", *settings, "--dbname", address]
    with TemporaryFile() as errors, Popen(restore, stdout=PIPE, stderr=errors) as reader:  # noqa: S603
        writer = Popen(psql, env=environment, stdin=PIPE, stdout=DEVNULL, stderr=errors)  # noqa: S603
        script, target = cast("IO[bytes]", reader.stdout), cast("IO[bytes]", writer.stdin)
        with suppress(BrokenPipeError), writer:  # psql may have ended, with an error
            target.write(sql["begin"].encode() + script.read(START_BYTES).replace(NEW_SETTING, b"", 1))
            shutil.copyfileobj(script, target)
            if reader.wait() == 0:
                target.write(sql["hold"].encode())
        script.close()
        if reader.wait() or writer.returncode:
            errors.seek(0)
            raise BackupError(f"The database cannot be restored: {_first_error(errors.read())}")


def _first_error(output: bytes) -> str:
    return output.decode(errors="replace").partition("\n")[0] or "the program gave no reason."
