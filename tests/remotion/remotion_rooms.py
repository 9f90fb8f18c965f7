"""Clips, a server that answers by rule, and the real Remotion service as a process."""

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


def paint(path: Path, *, luma: int, seconds: float, sound: bool = True) -> Path:
    """A flat grey clip with a bar moving along its foot, and a tone that starts with it."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", 30, options={"preset": "superfast", "crf": "16"})
        video.width, video.height, video.pix_fmt = 180, 320, "yuv420p"
        context = video.codec_context
        context.time_base = Fraction(1, 30)
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        audio = container.add_stream("aac", 48_000) if sound else None
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
class Kept:
    """Kept files in a folder, by digest."""

    folder: Path

    def clip(self, **recipe: Any) -> str:
        """Paint a clip and keep it; its digest."""
        path = paint(self.folder / "unfinished.mp4", **recipe)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        target = self.folder / "sha256" / digest[:2] / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return digest

    async def local(self, digest: str) -> Path:
        return self.folder / "sha256" / digest[:2] / digest


async def ignore(_: float) -> None:
    """Hears of progress and does not mind."""


@dataclass
class Outside:
    """A server that keeps what it was asked and answers by a rule of the test."""

    url: str
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


Rule = Callable[[str, str, dict[str, str], bytes], tuple[int, bytes]]


@dataclass
class Service:
    """The real service as a process, with the state in a folder."""

    folder: Path
    env: dict[str, str]
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Service:
        log = self.folder / "log"
        with log.open("ab") as file:
            begin = file.tell()
            self.process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
                ["node", str(SERVICE / "build" / "app" / "src" / "main.js")],
                env={"PATH": os.environ["PATH"], **self.env},
                stdout=file,
                stderr=file,
            )
        for _ in range(600):
            said = log.read_bytes()[begin:].decode()
            if "Remotion renders at " in said:
                self.url = said.split("Remotion renders at ")[1].split()[0]
                return self
            assert self.process.poll() is None, said
            await asyncio.sleep(0.05)
        raise AssertionError(f"It does not start: {log.read_text()}")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(30)

    def children(self) -> list[psutil.Process]:
        """What still runs in a folder of a job."""
        jobs = str(self.folder / "jobs")
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(jobs in word for word in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    async def asked(self, method: str, path: str, **content: Any) -> httpx.Response:
        async with httpx.AsyncClient() as opened:
            return await opened.request(method, self.url + path, timeout=30, **content)

    async def until(self, render_id: str, *states: str, seconds: float = 240) -> dict[str, Any]:
        """What the service tells of the render when it is in one of these states."""
        end = datetime.now(UTC).timestamp() + seconds
        while datetime.now(UTC).timestamp() < end:
            told: dict[str, Any] = (await self.asked("GET", f"/renders/{render_id}")).json()
            if told["state"] in states:
                return told
            await asyncio.sleep(0.2)
        raise AssertionError(f"{told} and not {states}; {(self.folder / 'log').read_text()}")


def order(digests: list[str], render_id: str = "rnd_1", **changes: Any) -> dict[str, Any]:
    """A small film of two clips, as the service is asked for it."""
    clips = [{"digest": digest, "seconds": 2.0, "overlay": "Read me"} for digest in digests]
    manifest = {"version": 1, "width": 270, "height": 480, "fps": 30, "crossfade_seconds": 0.5, "loudness_lufs": -14}
    asked = {
        "render_id": render_id,
        "run_id": None,
        "composition": "shorts",
        "props": {"title": "A title"},
        "manifest": {**manifest, "clips": clips},
    }
    return json.loads(json.dumps({**asked, **changes}))
