"""The kept files, named by their digest: bytes in a folder or an object store, a row for each."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from psycopg.types.json import Jsonb

from providers.base import ArtifactChanged, ArtifactMissing, Files, Unavailable
from storage.database import Database

CHUNK = 1024 * 1024
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Artifact:
    """What is known of a kept file. `facts` is small JSON, as the one who made it told it."""

    digest: str
    kind: str
    media_type: str
    size_bytes: int
    facts: dict[str, Any]
    created_at: datetime


class Artifacts(Files):
    """The kept files of one store: a folder (a path or `file://`), or S3 and its kin by URL (`s3://…`)."""

    def __init__(self, db: Database, store: str | Path, cache_dir: Path) -> None:
        """Files of a store that is no folder are fetched into `cache_dir`; nothing is removed from there."""
        self._db = db
        self._cache = cache_dir
        self._folder: Path | None = None
        self._store: ObjectStore
        if isinstance(store, str) and "://" in store and not store.startswith("file://"):
            # A film may take longer than the 30 seconds a request is given otherwise; whoever asks for it asks
            # again later by himself, so that little is gained by many tries here.
            self._store = from_url(
                store,
                client_options={"timeout": "10m", "connect_timeout": "10s"},
                retry_config={"max_retries": 3},
            )
        else:
            self._folder = Path(str(store).removeprefix("file://")).expanduser().resolve()
            self._store = LocalStore(self._folder, mkdir=True)

    async def store(self, path: Path, *, kind: str, media_type: str, facts: Mapping[str, Any]) -> str:
        """Copy the file at `path` into the store and return its digest; `path` stays. Safe to repeat.

        A row never stands without its file. Of a file that is kept already the first row stays. Raises
        Unavailable when the store cannot be reached, OSError when `path` cannot be read.
        """
        digest = await asyncio.to_thread(_digest, path)
        with _reaching_for(digest):
            await obstore.put_async(self._store, _key(digest), path)
        if self._folder is not None:
            await asyncio.to_thread(_sync, self._folder / _key(digest))
        await self._db.execute(
            "insert into artifacts (digest, kind, media_type, size_bytes, facts) values (%s, %s, %s, %s, %s) "
            "on conflict (digest) do nothing",
            (digest, kind, media_type, path.stat().st_size, Jsonb(dict(facts))),
        )
        return digest

    async def local_path(self, digest: str) -> Path:
        """See Files. The path lies in the store itself or in the cache: it is to be read, never changed.

        Raises Unavailable, too, when the store cannot be reached.
        """
        key = _key(digest)
        if self._folder is None:
            cached = self._cache / key
            if not await _is(cached, digest):
                await self._fetch(digest, cached)
            return cached
        path = self._folder / key
        if not path.is_file():
            raise ArtifactMissing(digest)
        if not await _is(path, digest):
            raise ArtifactChanged(digest)
        return path

    async def find(self, digest: str) -> Artifact | None:
        """What is known of the file, or None."""
        row = await self._db.fetch_one(
            "select digest, kind, media_type, size_bytes, facts, created_at from artifacts where digest = %s",
            (digest,),
        )
        return None if row is None else Artifact(**row)

    async def size(self, digest: str) -> int:
        """Its size in bytes. Raises ArtifactMissing."""
        row = await self.find(digest)
        if row is None:
            raise ArtifactMissing(digest)
        return row.size_bytes

    async def stream(self, digest: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end` (or the last), in pieces, not checked.

        Raises ArtifactMissing or Unavailable before the first piece, ValueError when the range is empty.
        """
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"There are no bytes from {start} to {end}.")
        wanted: Any = (start, end) if end is not None else {"offset": start}
        with _reaching_for(digest):
            found = await obstore.get_async(self._store, _key(digest), options={"range": wanted})
        return found.stream(min_chunk_size=CHUNK)

    async def _fetch(self, digest: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        seen = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".fetching-")
        unfinished = Path(name)
        try:
            with os.fdopen(handle, "wb") as file, _reaching_for(digest):
                found = await obstore.get_async(self._store, _key(digest))
                async for piece in found.stream(min_chunk_size=CHUNK):
                    await asyncio.to_thread(file.write, piece)
                    await asyncio.to_thread(seen.update, piece)
            if seen.hexdigest() != digest:
                raise ArtifactChanged(digest)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)


def _key(digest: str) -> str:
    # What is no digest names no file of ours, and must not name another.
    if not DIGEST.fullmatch(digest):
        raise ArtifactMissing(digest)
    return f"sha256/{digest[:2]}/{digest}"


async def _is(path: Path, digest: str) -> bool:
    try:
        return await asyncio.to_thread(_digest, path) == digest
    except FileNotFoundError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Let the file and its name survive a power cut: the store has only handed them to the kernel."""
    for part in (path, path.parent, path.parent.parent):
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _reaching_for(digest: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactMissing(digest) from None
    except BaseError as error:
        raise Unavailable("store_unavailable", "The store of the kept files does not answer.") from error
