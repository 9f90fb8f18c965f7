"""Artifacts: stored files named by their digest, in a folder or an object store, with a row each."""

import asyncio
import contextlib
import hashlib
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from providers.base import ArtifactChanged, ArtifactMissing, Files, Unavailable
from storage.database import Database, fetch_one, read_statements
from storage.failpoints import hit

CHUNK_BYTES = 1024 * 1024
PROBE_TIMEOUT_SECONDS = 30.0
DIGEST = re.compile(r"[0-9a-f]{64}")
#: A file of the cache stays for so long after its last use: a render may be reading it.
CACHE_SECONDS = 3600
#: What a killed download left in the cache is deleted after this time.
STALE_SECONDS = 86_400
RELEASED_AT_ONCE = 100

sql = read_statements("artifacts")


@dataclass(frozen=True)
class Artifact:
    """A row of `artifacts`. `facts` is small JSON from the creator of the file."""

    digest: str
    kind: str
    media_type: str
    size_bytes: int
    facts: dict[str, Any]
    created_at: datetime
    #: When it was stored for the last time.
    stored_at: datetime


class Artifacts(Files):
    """The files of one store: a folder (a path or `file://`), or S3 and compatible stores by URL (`s3://…`)."""

    def __init__(self, db: Database, store: str | Path, cache_dir: Path, cache_bytes: float = math.inf) -> None:
        """Open the store at this path or URL. Files of an object store are downloaded to `cache_dir`.

        Those used last stay there, up to `cache_bytes` together.
        """
        self._db, self._cache_bytes = db, cache_bytes
        self._cache = cache_dir
        self._folder: Path | None = None
        self._store: ObjectStore
        #: The setting that names the store.
        self._setting = "MYLOWARE_DATA_DIR" if isinstance(store, Path) else "MYLOWARE_STORE_URL"
        with self._map_errors():
            if isinstance(store, str) and "://" in store and not store.startswith("file://"):
                # A film can take longer than the default of 30 seconds per request. Callers try again later by
                # themselves, so many retries here are of little use. Plain http counts only for an endpoint that the
                # environment names with it.
                self._store = from_url(
                    store,
                    client_options={"timeout": "10m", "connect_timeout": "10s", "allow_http": True},
                    retry_config={"max_retries": 3},
                )
            else:
                self._folder = Path(str(store).removeprefix("file://")).expanduser().resolve()
                self._store = LocalStore(self._folder, mkdir=True)

    async def probe(self) -> None:
        """Write, read and delete a small object. Raises Unavailable, with a sentence that names the setting."""
        key, content = f"probe/{uuid4().hex}", b"probe"
        with self._map_errors():
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await obstore.put_async(self._store, key, content)
                read = await (await obstore.get_async(self._store, key)).bytes_async()
                await obstore.delete_async(self._store, key)
            if bytes(read) != content:
                raise OSError("the store returned other bytes than were written")

    async def store(self, path: Path, *, kind: str, media_type: str, facts: Mapping[str, Any]) -> str:
        """Copy the file at `path` into the store and return its digest. Idempotent.

        The file is stored before its row; the first row of a file stays. Raises Unavailable when the store cannot be
        reached, OSError when `path` cannot be read.
        """
        digest = await self.put(path)
        values = {"digest": digest, "kind": kind, "media_type": media_type, "facts": dict(facts)}
        await self._db.execute(sql["insert"], {**values, "size_bytes": path.stat().st_size})
        # The file may have been deleted before its row was there; from now on it is not.
        if not await self._exists(digest):
            await self.put(path, digest)
        return digest

    async def put(self, path: Path, expected: str | None = None) -> str:
        """Store the file at `path` without a row, and return its digest. Raises ArtifactChanged for another digest."""
        digest = await asyncio.to_thread(digest_of_file, path)
        if expected not in (None, digest):
            raise ArtifactChanged(expected or "")
        with self._map_errors(digest):
            await obstore.put_async(self._store, _key(digest), path)
        if self._folder is not None:
            await asyncio.to_thread(_sync, self._folder / _key(digest))
        return digest

    async def _exists(self, digest: str) -> bool:
        with self._map_errors():
            try:
                await obstore.head_async(self._store, _key(digest))
            except FileNotFoundError:
                return False
        return True

    async def delete_released(self) -> None:
        """Delete the files without rows that were released, unless they were stored again. Raises Unavailable."""
        while released := await self._db.fetch_all(sql["released"], (RELEASED_AT_ONCE,)):
            for row in released:
                await self._delete(row["digest"])

    async def _delete(self, digest: str) -> None:
        async with self._db.transaction() as conn:
            await conn.execute(sql["lock"], {"digest": digest})
            if await fetch_one(conn, sql["has_row"], (digest,)) is None:
                with self._map_errors(), contextlib.suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, _key(digest))
                (self._cache / _key(digest)).unlink(missing_ok=True)
                hit("file.deleted")
            await conn.execute(sql["forget"], (digest,))

    async def local_path(self, digest: str) -> Path:
        """Return a path in the store or the cache; read it only. See `Files`. Raises Unavailable, too."""
        key = _key(digest)
        path = (self._folder or self._cache) / key
        is_stored = path.exists()
        if is_stored and await asyncio.to_thread(digest_of_file, path) == digest:
            if self._folder is None:
                os.utime(path)
            return path
        if self._folder is not None:
            raise ArtifactChanged(digest) if is_stored else ArtifactMissing(digest)
        await self._download(digest, path)
        await asyncio.to_thread(self._trim_cache)
        return path

    def _trim_cache(self) -> None:
        """Delete the files of the cache that were used least recently, until the others are within the bound."""
        kept, now = 0, time.time()
        for path, state in sorted(_states(self._cache), key=lambda found: found[1].st_mtime, reverse=True):
            idle = now - state.st_mtime
            if not DIGEST.fullmatch(path.name):
                if idle > STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            kept += state.st_size
            if kept > self._cache_bytes and idle > CACHE_SECONDS:
                path.unlink(missing_ok=True)

    async def find(self, digest: str) -> Artifact | None:
        """Return the row of the file, or None."""
        return await self._db.fetch_one("select * from artifacts where digest = %s", (digest,), row=Artifact)

    async def stream(self, digest: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes from `start` to `end` (exclusive, default: the last byte) in chunks, unverified.

        Raises ArtifactMissing or Unavailable before the first chunk, ValueError when the range is empty.
        """
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"There are no bytes from {start} to {end}.")
        byte_range: Any = (start, end) if end is not None else {"offset": start}
        with self._map_errors(digest):
            found = await obstore.get_async(self._store, _key(digest), options={"range": byte_range})
        return found.stream(min_chunk_size=CHUNK_BYTES)

    @contextlib.contextmanager
    def _map_errors(self, digest: str | None = None) -> Iterator[None]:
        """Raise ArtifactMissing for a missing object, and Unavailable for every other error of the store."""
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and digest:
                raise ArtifactMissing(digest) from None
            # The first line without URLs and paths, which are not for every reader of a run.
            line = ([*str(error).splitlines(), ""])[0].rpartition(" - ")[2] or type(error).__name__
            reason = re.sub(r"\S*/\S*", "…", line)[:200].rstrip(".")
            message = f"{self._setting}: the store of clips and films cannot be used: {reason}."
            raise Unavailable("store_unavailable", message) from error

    async def _download(self, digest: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        actual = hashlib.sha256()
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
            partial = Path(folder) / digest
            with partial.open("wb") as file, self._map_errors(digest):
                found = await obstore.get_async(self._store, _key(digest))
                async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                    await asyncio.to_thread(file.write, chunk)
                    await asyncio.to_thread(actual.update, chunk)
            if actual.hexdigest() != digest:
                raise ArtifactChanged(digest)
            partial.replace(target)


def _states(cache: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the entries of the cache with their states. Another process may delete them at the same time."""
    for path in cache.glob("sha256/*/*"):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat()


def _key(digest: str) -> str:
    # Text that is not a digest must not become a path outside the store.
    if not DIGEST.fullmatch(digest):
        raise ArtifactMissing(digest)
    return f"sha256/{digest[:2]}/{digest}"


def digest_of_file(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Write the file and its directory entries to disk: the store has only handed them to the kernel."""
    for part in (path, path.parent, path.parent.parent):
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
