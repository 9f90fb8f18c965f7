"""Test clips, an HTTP stub server, and the real render service as a subprocess."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import psutil

SERVICE = Path(__file__).resolve().parents[2] / "remotion"
BROWSERS = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome")


def write_clip(path: Path, *, luma: int, seconds: float, has_sound: bool = True) -> Path:
    """Write a flat grey clip with a bar that moves along the bottom, and a tone that starts with the first frame."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", 30, options={"preset": "superfast", "crf": "16"})
        video.width, video.height, video.pix_fmt = 180, 320, "yuv420p"
        context = video.codec_context
        context.time_base = Fraction(1, 30)
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        audio = container.add_stream("aac", 48_000) if has_sound else None
        if audio is not None:
            audio.codec_context.layout, audio.codec_context.format = "stereo", "fltp"
        for number in range(round(seconds * 30)):
            planes = np.full((480, 180), 128, np.uint8)
            planes[:320] = luma
            planes[250:316, number * 3 % 160 :][:, :20] = 160
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            tone = 0.1 * np.sin(2 * np.pi * (300 + luma) * np.arange(round(seconds * 48_000)) / 48_000)
            for start in range(0, tone.size, 1024):
                part = np.ascontiguousarray(np.tile(tone[start : start + 1024].astype(np.float32), (2, 1)))
                samples = av.AudioFrame.from_ndarray(part, "fltp", "stereo")
                samples.sample_rate, samples.pts, samples.time_base = 48_000, start, Fraction(1, 48_000)
                container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
    return path


@dataclass
class ArtifactFolder:
    """Artifacts in a folder, by digest."""

    folder: Path

    def add_clip(self, **options: Any) -> str:
        """Write a clip into the folder and return its digest."""
        path = write_clip(self.folder / "unfinished.mp4", **options)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        target = self.folder / "sha256" / digest[:2] / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return digest

    async def local_path(self, digest: str) -> Path:
        return self.folder / "sha256" / digest[:2] / digest


async def ignore_progress(_: float) -> None:
    """Discard a progress report."""


@dataclass
class StubServer:
    """An HTTP server that records its requests; the test supplies the responses."""

    url: str
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


#: Maps method, path, headers and body of a request to the status and body of its response.
Responder = Callable[[str, str, dict[str, str], bytes], tuple[int, bytes]]


@dataclass
class RenderService:
    """The real service as a subprocess, with its state in a folder."""

    folder: Path
    env: dict[str, str]
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> RenderService:
        log = self.folder / "log"
        with log.open("ab") as file:
            log_start = file.tell()
            self.process = subprocess.Popen(  # noqa: ASYNC220 - starting a process does not block
                ["node", str(SERVICE / "build" / "app" / "src" / "main.js")],
                env={"PATH": os.environ["PATH"], **self.env},
                stdout=file,
                stderr=file,
            )
        for _ in range(600):
            output = log.read_bytes()[log_start:].decode()
            if "listening on " in output:
                self.url = output.split("listening on ")[1].split()[0]
                return self
            assert self.process.poll() is None, output
            await asyncio.sleep(0.05)
        raise AssertionError(f"The service did not start: {log.read_text()}")

    def stop(self, signal_number: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(signal_number)
        self.process.wait(30)

    def job_processes(self) -> list[psutil.Process]:
        """Return the processes that run in a job folder."""
        jobs_dir = str(self.folder / "jobs")
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if (
                    any(jobs_dir in argument for argument in process.cmdline())
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
        return found

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.request(method, self.url + path, timeout=30, **options)

    async def wait_for_state(self, render_id: str, *states: str, seconds: float = 240) -> dict[str, Any]:
        """Return the render as soon as it is in one of these states."""
        deadline = datetime.now(UTC).timestamp() + seconds
        while datetime.now(UTC).timestamp() < deadline:
            render: dict[str, Any] = (await self.request("GET", f"/renders/{render_id}")).json()
            if render["state"] in states:
                return render
            await asyncio.sleep(0.2)
        raise AssertionError(f"{render} is in none of the states {states}; {(self.folder / 'log').read_text()}")


def render_request(digests: list[str], render_id: str = "rnd_1", **changes: Any) -> dict[str, Any]:
    """Return a request for a small film with these clips."""
    clips = [{"digest": digest, "seconds": 2.0, "overlay": "Read me"} for digest in digests]
    manifest = {"version": 1, "width": 270, "height": 480, "fps": 30, "crossfade_seconds": 0.5, "loudness_lufs": -14}
    request = {
        "render_id": render_id,
        "run_id": None,
        "composition": "shorts",
        "props": {"title": "A title"},
        "manifest": {**manifest, "clips": clips},
    }
    return json.loads(json.dumps({**request, **changes}))
