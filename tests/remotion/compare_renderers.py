"""Render the same three clips with both renderers: `compare_renderers.py <folder of clips>`.

Prints wall time, CPU time and peak memory of the process tree for each renderer.
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
from render_service import ArtifactFolder, RenderService, ignore_progress

from providers.base import Provider
from providers.renders.embedded import EmbeddedRenders
from providers.renders.manifest import Manifest
from providers.renders.remotion import RemotionRenders
from providers.results import Pending, Succeeded

SAMPLE_INTERVAL_SECONDS = 0.25


class ResourceMeter:
    """CPU time and memory of this process and its children, sampled every `SAMPLE_INTERVAL_SECONDS`."""

    def __init__(self) -> None:
        self._cpu_seconds: dict[int, float] = {}
        self.peak_bytes = 0

    async def __aenter__(self) -> ResourceMeter:
        self._sample()
        self._initial_cpu_seconds = sum(self._cpu_seconds.values())
        self._started_at = time.monotonic()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.wall_seconds = time.monotonic() - self._started_at
        self._task.cancel()
        self._sample()
        self.cpu_seconds = sum(self._cpu_seconds.values()) - self._initial_cpu_seconds

    async def _run(self) -> None:
        while True:
            self._sample()
            await asyncio.sleep(SAMPLE_INTERVAL_SECONDS)

    def _sample(self) -> None:
        used_bytes = 0
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._cpu_seconds[process.pid] = times.user + times.system
                used_bytes += process.memory_info().rss - process.memory_info().shared
        self.peak_bytes = max(self.peak_bytes, used_bytes)


async def render(renders: Provider, request: dict[str, Any], into: Path) -> Succeeded:
    task = await renders.submit(request, key="compare:render:1:1")
    result: Any = Pending()
    while isinstance(result, Pending):
        await asyncio.sleep(0.2)
        result = await renders.poll(task, request, into=into, progress=ignore_progress)
    assert isinstance(result, Succeeded), result
    return result


async def measure(rendering: Awaitable[Succeeded]) -> tuple[Succeeded, ResourceMeter]:
    async with ResourceMeter() as meter:
        result = await rendering
    return result, meter


async def main(folder: Path) -> None:
    clips = sorted(path for path in folder.iterdir() if path.is_file())[:3]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        artifacts = ArtifactFolder(work / "artifacts")
        digests = []
        for clip in clips:
            digests.append(hashlib.sha256(clip.read_bytes()).hexdigest())
            target = artifacts.folder / "sha256" / digests[-1][:2] / digests[-1]
            target.parent.mkdir(parents=True)
            target.write_bytes(clip.read_bytes())
        overlays = ("The dunes remember every step", "Rain writes the city in light", "One candle keeps us awake")
        request = Manifest(
            clips=[
                {"digest": digest, "seconds": 4.0, "overlay": text}
                for digest, text in zip(digests, overlays, strict=True)
            ],
            title="Three quiet worlds after dark",
        ).model_dump()
        (work / "service").mkdir()
        env = {"PORT": "0", "STATE_DIR": str(work / "service"), "ARTIFACTS": str(artifacts.folder), "CONCURRENCY": "1"}
        service = await RenderService(work / "service", env).start()
        try:
            async with httpx.AsyncClient() as client:
                for renders in (EmbeddedRenders(artifacts), RemotionRenders(service.url, client, artifacts)):
                    result, meter = await measure(render(renders, request, work))
                    facts = result.facts
                    print(
                        f"{renders.name:9} {facts['seconds']} s of film: wall {meter.wall_seconds:.1f} s, "
                        f"CPU {meter.cpu_seconds:.1f} s, peak {meter.peak_bytes / 1e9:.2f} GB, "
                        f"{facts['size_bytes'] / 1e6:.1f} MB, {facts['lufs']} LUFS, {facts['warnings']}"
                    )
        finally:
            service.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
