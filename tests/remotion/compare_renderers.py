"""The same three clips through both renderers in one run: give it a folder of clips.

Tells wall time, and the processor time of all that took part.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import psutil
from remotion_rooms import Kept, Service, ignore

from providers.base import Done, Pending, Provider
from providers.renders.embedded import EmbeddedRenders
from providers.renders.manifest import Manifest
from providers.renders.remotion import RemotionRenders


class Meter:
    """The processor time and memory of this process's whole tree, looked at four times a second."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self.peak_bytes = 0

    async def __aenter__(self) -> Meter:
        self._look()
        self._before = sum(self._seconds.values())
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.wall = time.monotonic() - self._began
        self._task.cancel()
        self._look()
        self.cpu = sum(self._seconds.values()) - self._before

    async def _run(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(0.25)

    def _look(self) -> None:
        held = 0
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._seconds[process.pid] = times.user + times.system
                held += process.memory_info().rss - process.memory_info().shared
        self.peak_bytes = max(self.peak_bytes, held)


async def made(renders: Provider, request: dict[str, Any], into: Path) -> Done:
    task = await renders.submit(request, key="compare:render:1:1")
    seen: Any = Pending()
    while isinstance(seen, Pending):
        await asyncio.sleep(0.2)
        seen = await renders.look(task, request, into=into, progress=ignore)
    assert isinstance(seen, Done), seen
    return seen


async def measured(what: Awaitable[Done]) -> tuple[Done, Meter]:
    async with Meter() as meter:
        done = await what
    return done, meter


async def main(folder: Path) -> None:
    clips = sorted(path for path in folder.iterdir() if path.is_file())[:3]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        kept = Kept(work / "kept")
        digests = []
        for clip in clips:
            digests.append(hashlib.sha256(clip.read_bytes()).hexdigest())
            target = kept.folder / "sha256" / digests[-1][:2] / digests[-1]
            target.parent.mkdir(parents=True)
            target.write_bytes(clip.read_bytes())
        words = ("The dunes remember every step", "Rain writes the city in light", "One candle keeps us awake")
        request = Manifest(
            clips=[
                {"digest": digest, "seconds": 4.0, "overlay": text} for digest, text in zip(digests, words, strict=True)
            ],
            title="Three quiet worlds after dark",
        ).model_dump()
        (work / "service").mkdir()
        env = {"PORT": "0", "STATE_DIR": str(work / "service"), "ARTIFACTS": str(kept.folder), "CONCURRENCY": "1"}
        service = await Service(work / "service", env).start()
        try:
            async with httpx.AsyncClient() as client:
                for renders in (EmbeddedRenders(kept), RemotionRenders(service.url, client)):
                    done, meter = await measured(made(renders, request, work))
                    print(
                        f"{renders.name:9} {done.facts['seconds']} s of film: wall {meter.wall:.1f} s, "
                        f"cpu {meter.cpu:.1f} s, peak {meter.peak_bytes / 1e9:.2f} GB, "
                        f"{done.facts['size_bytes'] / 1e6:.1f} MB, {done.facts['lufs']} LUFS, {done.facts['warnings']}"
                    )
        finally:
            service.kill()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
