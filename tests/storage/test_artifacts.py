"""Artifacts, in a folder and in an object store."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import obstore
import pytest

from providers.base import ArtifactChanged, ArtifactMissing, Unavailable
from storage.artifacts import Artifacts
from storage.database import Database

FILM = os.urandom(6_000_000)  # more than one part of an upload
DIGEST = hashlib.sha256(FILM).hexdigest()
KEY = f"sha256/{DIGEST[:2]}/{DIGEST}"
METADATA: dict[str, Any] = {"kind": "clip", "media_type": "video/mp4", "facts": {"seconds": 8.0}}


@pytest.fixture(params=["folder", "file-url", "memory"])
def artifacts(request: pytest.FixtureRequest, db: Database, tmp_path: Path) -> Artifacts:
    """A store of each kind; the one in memory uses the same code as every object store."""
    folder = tmp_path / "store"
    stores: dict[str, str | Path] = {"folder": folder, "file-url": f"file://{folder}", "memory": "memory:///"}
    return Artifacts(db, stores[request.param], tmp_path / "cache")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A finished film outside the store."""
    path = tmp_path / "film.mp4"
    path.write_bytes(FILM)
    return path


async def test_stored_file_is_found_by_its_digest(artifacts: Artifacts, film: Path) -> None:
    """Its bytes, row and size are there after the original is deleted."""
    assert await artifacts.store(film, **METADATA) == DIGEST
    assert film.read_bytes() == FILM
    film.unlink()
    row = await artifacts.find(DIGEST)

    assert (await artifacts.local_path(DIGEST)).read_bytes() == FILM
    assert row is not None
    assert (row.kind, row.media_type, row.size_bytes) == ("clip", "video/mp4", 6_000_000)
    assert row.facts == {"seconds": 8.0}


async def test_same_file_is_stored_once(artifacts: Artifacts, film: Path) -> None:
    """Concurrent stores leave one file and one row, with the facts of the first."""
    await artifacts.store(film, **METADATA)
    digests = await asyncio.gather(*(artifacts.store(film, **METADATA | {"facts": {}}) for _ in range(4)))
    row = await artifacts.find(DIGEST)

    assert digests == [DIGEST] * 4
    assert row is not None
    assert row.facts == {"seconds": 8.0}
    listed = [found["path"] for batch in obstore.list(artifacts._store) for found in batch]
    assert listed == [KEY]


async def test_changed_file_is_refused(artifacts: Artifacts, film: Path) -> None:
    """Even if one bit differs; storing the file again repairs it."""
    await artifacts.store(film, **METADATA)
    obstore.put(artifacts._store, KEY, FILM[:-1] + bytes([FILM[-1] ^ 1]))

    with pytest.raises(ArtifactChanged):
        await artifacts.local_path(DIGEST)
    await artifacts.store(film, **METADATA)
    assert (await artifacts.local_path(DIGEST)).read_bytes() == FILM


async def test_missing_file_raises_artifact_missing(artifacts: Artifacts, film: Path) -> None:
    """Both for a file that was never stored and for one deleted from the store."""
    for read in (artifacts.local_path, artifacts.stream):
        with pytest.raises(ArtifactMissing):
            await read(DIGEST)
    assert await artifacts.find(DIGEST) is None
    await artifacts.store(film, **METADATA)
    obstore.delete(artifacts._store, KEY)

    for read in (artifacts.local_path, artifacts.stream):
        with pytest.raises(ArtifactMissing):
            await read(DIGEST)


async def test_text_that_is_not_a_digest_is_missing(artifacts: Artifacts, tmp_path: Path) -> None:
    """No path outside the store can be read."""
    (tmp_path / "secret").write_text("secret")
    for name in ("", "../../../secret", "/etc/passwd", DIGEST.upper(), f"{DIGEST}\n", "0" * 63):
        with pytest.raises(ArtifactMissing):
            await artifacts.local_path(name)
        with pytest.raises(ArtifactMissing):
            await artifacts.stream(name)


@pytest.mark.parametrize(
    ("start", "end"), [(0, None), (0, 1), (5_999_999, None), (1_000_000, 4_500_000), (0, 6_000_000)]
)
async def test_byte_range_is_streamed(artifacts: Artifacts, film: Path, start: int, end: int | None) -> None:
    """From the start to the end, exclusive."""
    await artifacts.store(film, **METADATA)
    chunks = [bytes(chunk) async for chunk in await artifacts.stream(DIGEST, start, end)]

    assert b"".join(chunks) == FILM[start:end]


async def test_large_file_is_streamed_in_chunks(db: Database, film: Path, tmp_path: Path) -> None:
    """It does not need to fit into memory."""
    artifacts = Artifacts(db, tmp_path / "store", tmp_path / "cache")
    await artifacts.store(film, **METADATA)
    sizes = [len(chunk) async for chunk in await artifacts.stream(DIGEST)]

    assert len(sizes) >= 5
    assert max(sizes) <= 1_100_000


async def test_empty_range_raises_value_error(artifacts: Artifacts) -> None:
    """A range that ends at its start has no bytes."""
    with pytest.raises(ValueError, match="no bytes"):
        await artifacts.stream(DIGEST, 5, 5)


async def test_unreadable_file_is_not_stored(artifacts: Artifacts, tmp_path: Path) -> None:
    """It leaves no row."""
    with pytest.raises(FileNotFoundError):
        await artifacts.store(tmp_path / "nothing", **METADATA)
    assert await artifacts.find(hashlib.sha256(b"").hexdigest()) is None


async def test_cached_copy_is_verified_and_replaced(db: Database, film: Path, tmp_path: Path) -> None:
    """A damaged copy is downloaded again, a good one is used without the store, and no partial file is left."""
    artifacts = Artifacts(db, "memory:///", tmp_path / "cache")
    await artifacts.store(film, **METADATA)
    cached = await artifacts.local_path(DIGEST)
    cached.write_bytes(b"damaged")

    assert (await artifacts.local_path(DIGEST)).read_bytes() == FILM
    obstore.delete(artifacts._store, KEY)
    assert await artifacts.local_path(DIGEST) == cached
    cached.unlink()
    with pytest.raises(ArtifactMissing):
        await artifacts.local_path(DIGEST)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


async def test_unreachable_store_is_unavailable(
    db: Database, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is inserted."""
    for name, value in (
        ("ENDPOINT", "http://127.0.0.1:9"),
        ("ALLOW_HTTP", "true"),
        ("ACCESS_KEY_ID", "id"),
        ("SECRET_ACCESS_KEY", "secret"),
        ("REGION", "nowhere"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    artifacts = Artifacts(db, "s3://films", tmp_path / "cache")

    with pytest.raises(Unavailable):
        await artifacts.store(film, **METADATA)
    for read in (artifacts.local_path, artifacts.stream):
        with pytest.raises(Unavailable):
            await read(DIGEST)
    assert await artifacts.find(DIGEST) is None
