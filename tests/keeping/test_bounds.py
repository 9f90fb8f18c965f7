"""The cache of a machine has a bound, and temporary files go with the process that made them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import artifacts as module
from storage.artifacts import Artifacts
from storage.database import Database, open_pool
from storage.private_folders import UNLOCKED_SECONDS, open_scratch

HOLD = """
import sys, time
from pathlib import Path
from storage.private_folders import open_scratch
with open_scratch(Path(sys.argv[1])) as own:
    (own / "clip").write_text("half")
    print(own, flush=True)
    time.sleep(60)
"""


@pytest.fixture
async def stored(database_url: str, tmp_path: Path) -> AsyncIterator[Artifacts]:
    """An object store with a cache of 2,500 bytes."""
    async with open_pool(database_url) as pool:
        yield Artifacts(Database(pool), "memory:///", tmp_path / "cache", 2_500)


async def _store(artifacts: Artifacts, folder: Path, name: str) -> str:
    path = folder / name
    path.write_bytes(name.encode() * 1000)
    return await artifacts.store(path, kind="clip", media_type="video/mp4", facts={})


async def test_files_used_least_recently_leave_the_cache(stored: Artifacts, tmp_path: Path) -> None:
    """Those of the last hour stay, because a render may be reading them; each is downloaded again when it is needed."""
    digests = [await _store(stored, tmp_path, name) for name in "abcd"]
    paths = [await stored.local_path(digest) for digest in digests[:3]]
    assert [path.exists() for path in paths] == [True] * 3
    long_ago = time.time() - module.CACHE_SECONDS - 60
    for age, path in zip((300, 200, 100), paths, strict=True):
        os.utime(path, (long_ago - age, long_ago - age))
    assert await stored.local_path(digests[0]) == paths[0]
    await stored.local_path(digests[3])

    assert [path.exists() for path in paths] == [True, False, False]
    assert (await stored.local_path(digests[1])).read_bytes() == b"b" * 1000


async def test_broken_downloads_leave_the_cache(stored: Artifacts, tmp_path: Path) -> None:
    """After a day; one that may be running stays."""
    folder = tmp_path / "cache" / "sha256" / "00"
    for name, age in (("old", module.STALE_SECONDS + 60), ("new", 0)):
        (folder / f".fetching-{name}").mkdir(parents=True)
        os.utime(folder / f".fetching-{name}", (time.time() - age,) * 2)
    await stored.local_path(await _store(stored, tmp_path, "a"))

    assert [path.name for path in folder.iterdir()] == [".fetching-new"]


def test_scratch_of_ended_processes_is_deleted(tmp_path: Path) -> None:
    """That of a living process stays, whatever its age; a start deletes what a killed one left."""
    processes = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = [Path(process.stdout.readline().strip()) for process in processes if process.stdout]
    old, new = tmp_path / "tmp-of-0.2", tmp_path / "upload-new"
    for path in (old, new):
        path.mkdir()
    os.utime(old, (time.time() - UNLOCKED_SECONDS - 60,) * 2)
    processes[0].send_signal(signal.SIGKILL)
    processes[0].communicate()
    os.utime(folders[1], (0, 0))
    try:
        with open_scratch(tmp_path) as own:
            assert set(tmp_path.iterdir()) == {own, folders[1], new}
            assert (folders[1] / "clip").exists()
    finally:
        processes[1].kill()
        processes[1].communicate()
    with open_scratch(tmp_path) as own:
        assert set(tmp_path.iterdir()) == {own, new}
