"""The kept files: a folder and an object store keep the same promises."""

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
ABOUT: dict[str, Any] = {"kind": "clip", "media_type": "video/mp4", "facts": {"seconds": 8.0}}


@pytest.fixture(params=["folder", "file-url", "memory"])
def artifacts(request: pytest.FixtureRequest, db: Database, tmp_path: Path) -> Artifacts:
    """A store of each kind; the one in memory takes the road of all that are not a folder."""
    folder = tmp_path / "store"
    stores: dict[str, str | Path] = {"folder": folder, "file-url": f"file://{folder}", "memory": "memory:///"}
    return Artifacts(db, stores[request.param], tmp_path / "cache")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A finished film in a folder of work."""
    path = tmp_path / "film.mp4"
    path.write_bytes(FILM)
    return path


async def test_what_was_kept_is_there_under_its_digest(artifacts: Artifacts, film: Path) -> None:
    """Its bytes, its row and its size, also after the first copy is gone."""
    assert await artifacts.store(film, **ABOUT) == DIGEST
    assert film.read_bytes() == FILM
    film.unlink()
    row = await artifacts.find(DIGEST)

    assert (await artifacts.local_path(DIGEST)).read_bytes() == FILM
    assert row is not None
    assert (row.kind, row.media_type, row.size_bytes) == ("clip", "video/mp4", 6_000_000)
    assert row.facts == {"seconds": 8.0}
    assert await artifacts.size(DIGEST) == 6_000_000


async def test_many_may_keep_the_same_at_once(artifacts: Artifacts, film: Path) -> None:
    """One file, one row, the first row's facts."""
    await artifacts.store(film, **ABOUT)
    digests = await asyncio.gather(*(artifacts.store(film, **ABOUT | {"facts": {}}) for _ in range(4)))
    row = await artifacts.find(DIGEST)

    assert digests == [DIGEST] * 4
    assert row is not None
    assert row.facts == {"seconds": 8.0}
    listed = [found["path"] for batch in obstore.list(artifacts._store) for found in batch]
    assert listed == [KEY]


async def test_a_changed_file_is_never_handed_out(artifacts: Artifacts, film: Path) -> None:
    """Not when one byte differs; keeping it again makes it whole."""
    await artifacts.store(film, **ABOUT)
    obstore.put(artifacts._store, KEY, FILM[:-1] + bytes([FILM[-1] ^ 1]))

    with pytest.raises(ArtifactChanged):
        await artifacts.local_path(DIGEST)
    await artifacts.store(film, **ABOUT)
    assert (await artifacts.local_path(DIGEST)).read_bytes() == FILM


async def test_a_missing_file_is_missing(artifacts: Artifacts, film: Path) -> None:
    """Whether it was never there, or was taken away after it was kept."""
    for ask in (artifacts.local_path, artifacts.size, artifacts.stream):
        with pytest.raises(ArtifactMissing):
            await ask(DIGEST)
    assert await artifacts.find(DIGEST) is None
    await artifacts.store(film, **ABOUT)
    obstore.delete(artifacts._store, KEY)

    for ask in (artifacts.local_path, artifacts.stream):
        with pytest.raises(ArtifactMissing):
            await ask(DIGEST)


async def test_what_is_no_digest_names_no_file(artifacts: Artifacts, tmp_path: Path) -> None:
    """No path leads out of the store."""
    (tmp_path / "secret").write_text("secret")
    for name in ("", "../../../secret", "/etc/passwd", DIGEST.upper(), f"{DIGEST}\n", "0" * 63):
        with pytest.raises(ArtifactMissing):
            await artifacts.local_path(name)
        with pytest.raises(ArtifactMissing):
            await artifacts.stream(name)


@pytest.mark.parametrize(
    ("start", "end"), [(0, None), (0, 1), (5_999_999, None), (1_000_000, 4_500_000), (0, 6_000_000)]
)
async def test_a_part_is_streamed(artifacts: Artifacts, film: Path, start: int, end: int | None) -> None:
    """From the first byte asked for up to the last one."""
    await artifacts.store(film, **ABOUT)
    pieces = [bytes(piece) async for piece in await artifacts.stream(DIGEST, start, end)]

    assert b"".join(pieces) == FILM[start:end]


async def test_a_long_file_is_streamed_in_pieces(db: Database, film: Path, tmp_path: Path) -> None:
    """It need not fit into memory."""
    artifacts = Artifacts(db, tmp_path / "store", tmp_path / "cache")
    await artifacts.store(film, **ABOUT)
    sizes = [len(piece) async for piece in await artifacts.stream(DIGEST)]

    assert len(sizes) >= 5
    assert max(sizes) <= 1_100_000


async def test_an_empty_range_is_no_range(artifacts: Artifacts) -> None:
    """There is nothing to stream from a byte to itself."""
    with pytest.raises(ValueError, match="no bytes"):
        await artifacts.stream(DIGEST, 5, 5)


async def test_a_file_that_is_not_there_is_not_kept(artifacts: Artifacts, tmp_path: Path) -> None:
    """And leaves no row."""
    with pytest.raises(FileNotFoundError):
        await artifacts.store(tmp_path / "nothing", **ABOUT)
    assert await artifacts.find(hashlib.sha256(b"").hexdigest()) is None


async def test_the_copy_in_the_cache_is_checked_and_healed(db: Database, film: Path, tmp_path: Path) -> None:
    """A damaged copy is fetched anew, a good one is used without the store, and no scraps stay behind."""
    artifacts = Artifacts(db, "memory:///", tmp_path / "cache")
    await artifacts.store(film, **ABOUT)
    cached = await artifacts.local_path(DIGEST)
    cached.write_bytes(b"damaged")

    assert (await artifacts.local_path(DIGEST)).read_bytes() == FILM
    obstore.delete(artifacts._store, KEY)
    assert await artifacts.local_path(DIGEST) == cached
    cached.unlink()
    with pytest.raises(ArtifactMissing):
        await artifacts.local_path(DIGEST)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


async def test_a_store_out_of_reach_is_unavailable(
    db: Database, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be asked again later; no row was written."""
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
        await artifacts.store(film, **ABOUT)
    for ask in (artifacts.local_path, artifacts.stream):
        with pytest.raises(Unavailable):
            await ask(DIGEST)
    assert await artifacts.find(DIGEST) is None
