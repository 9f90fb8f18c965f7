"""render, remotion: the embedded renderer beside ffmpeg in one pass, and the render service beside the embedded one."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp

import av
import httpx
import numpy as np
import psutil
from PIL import Image

from bench.aims import aims_of
from bench.results import ROOT, Result, ratio
from bench.stage import Effort
from providers.base import Provider
from providers.media.overlay import draw_overlay
from providers.renders.embedded import EmbeddedRenders
from providers.renders.manifest import Manifest, ManifestClip
from providers.renders.remotion import RemotionRenders
from providers.results import Pending, PollResult, Succeeded

FIGURES = ("render", "remotion")
#: The clips are scaled to the film, as they usually are.
CLIP_WIDTH, CLIP_HEIGHT, CLIP_SECONDS, CLIPS = 480, 848, 2, 3
FPS, FADE_SECONDS = 30, 0.5
SERVICE = ROOT / "remotion" / "build" / "app" / "src" / "main.js"
BROWSERS = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome")
SAMPLE_SECONDS = 0.1
NO_FFMPEG = "not measured: ffmpeg is not installed"
NO_SERVICE = "not measured: it needs node, a Chromium and the built service (`make remotion-built`)"


@dataclass(frozen=True)
class Film:
    """A film of the first clips: small enough for all rounds to fit into a run of the bench."""

    width: int
    height: int
    clips: int
    clip_seconds: int


FILM, REMOTION_FILM = Film(720, 1280, 3, 2), Film(540, 960, 2, 2)


@dataclass(frozen=True)
class Took:
    """What a render took: seconds, and CPU seconds of this process and its children."""

    wall: float
    cpu: float


class ClipFolder:
    """The clips, as files by their digests; see `providers.base.Files`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digests = [self._add(number) for number in range(CLIPS)]

    def path(self, digest: str) -> Path:
        """Return the path that the render service expects."""
        return self.folder / "sha256" / digest[:2] / digest

    async def local_path(self, digest: str) -> Path:
        """Return the path of the file."""
        return self.path(digest)

    def _add(self, number: int) -> str:
        self.folder.mkdir(exist_ok=True)
        clip = write_clip(self.folder / f"clip-{number}.mp4", seed=number)
        digest = hashlib.sha256(clip.read_bytes()).hexdigest()
        self.path(digest).parent.mkdir(parents=True, exist_ok=True)
        clip.rename(self.path(digest))
        return digest


async def measure(effort: Effort, figures: Collection[str]) -> list[Result]:
    """Return the lines of these figures."""
    with TemporaryDirectory(prefix="myloware-bench-films-") as name:
        folder = Path(name)
        clips = ClipFolder(folder / "clips")
        results = await _measure_render(effort, folder, clips) if "render" in figures else []
        return results + (await _measure_remotion(effort, folder, clips) if "remotion" in figures else [])


async def _measure_render(effort: Effort, folder: Path, clips: ClipFolder) -> list[Result]:
    program = shutil.which(os.environ.get("FFMPEG", "ffmpeg"))
    if program is None:
        return [Result(aim, None, note=NO_FFMPEG) for aim in aims_of("render")]
    command = _ffmpeg_command(program, folder, clips)

    async def by_ffmpeg() -> None:
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    ours, yardstick = await _alternate(effort, _rendering(EmbeddedRenders(clips), FILM, clips, folder), by_ffmpeg)
    wall, cpu = aims_of("render")
    return [
        ratio(wall, [each.wall for each in ours], [each.wall for each in yardstick], "s"),
        ratio(cpu, [each.cpu for each in ours], [each.cpu for each in yardstick], "s"),
    ]


async def _measure_remotion(effort: Effort, folder: Path, clips: ClipFolder) -> list[Result]:
    [aim] = aims_of("remotion")
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not (shutil.which("node") and browser and SERVICE.exists()):
        return [Result(aim, None, note=NO_SERVICE)]
    async with _render_service(folder, clips) as url, httpx.AsyncClient() as client:
        remotion = _rendering(RemotionRenders(url, client, clips), REMOTION_FILM, clips, folder)
        embedded = _rendering(EmbeddedRenders(clips), REMOTION_FILM, clips, folder)
        ours, yardstick = await _alternate(effort, remotion, embedded)
    own, other = (median(each.cpu for each in side) for side in (ours, yardstick))
    note = f"CPU {own:.1f} s and {other:.1f} s"
    return [ratio(aim, [each.wall for each in ours], [each.wall for each in yardstick], "s", note=note)]


async def _alternate(
    effort: Effort, ours: Callable[[], Awaitable[None]], yardstick: Callable[[], Awaitable[None]]
) -> tuple[list[Took], list[Took]]:
    took: tuple[list[Took], list[Took]] = ([], [])
    for _ in range(effort.rounds):
        for side, work in enumerate((ours, yardstick)):
            took[side].append(await _timed(work))
    return took


async def _timed(work: Callable[[], Awaitable[None]]) -> Took:
    """Do the work, and sample the CPU time of all processes below this one: those that end are not lost."""
    used: dict[tuple[int, float], float] = {}

    def sample() -> None:
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used[process.pid, process.create_time()] = times.user + times.system

    async def repeat() -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            sample()

    sample()
    before, started = sum(used.values()), time.perf_counter()
    sampling = asyncio.create_task(repeat())
    await work()
    seconds = time.perf_counter() - started
    sampling.cancel()
    return Took(seconds, sum(used.values()) - before)


def _rendering(renders: Provider, film: Film, clips: ClipFolder, folder: Path) -> Callable[[], Awaitable[None]]:
    request = Manifest(
        width=film.width,
        height=film.height,
        fps=FPS,
        crossfade_seconds=FADE_SECONDS,
        clips=[
            ManifestClip(digest=digest, seconds=film.clip_seconds, overlay=_text(number))
            for number, digest in enumerate(clips.digests[: film.clips], start=1)
        ],
        title="Rain at dusk",
    ).model_dump()
    count = 0

    async def render() -> None:
        nonlocal count
        count += 1
        into = Path(mkdtemp(dir=folder))
        task = await renders.submit(request, key=f"bench:render:1:{count}")
        result: PollResult = Pending()
        while isinstance(result, Pending):
            result = await renders.poll(task, request, into=into, progress=_ignore)
            await asyncio.sleep(0.05)
        if not isinstance(result, Succeeded):
            raise RuntimeError(f"The render failed: {result}")

    return render


async def _ignore(_: float) -> None:
    """Ignore the progress."""


def _text(number: int) -> str:
    return f"Stay for the rain {number}"


def _ffmpeg_command(program: str, folder: Path, clips: ClipFolder) -> list[str]:
    """Return the command that makes the same film in one pass, with the encoder settings of the embedded renderer."""
    inputs: list[str] = []
    for number, digest in enumerate(clips.digests, start=1):
        overlay = folder / f"overlay-{number}.png"
        _write_overlay(overlay, _text(number))
        inputs += ["-i", str(clips.path(digest)), "-i", str(overlay)]
    parts = []
    for n in range(CLIPS):
        scale = f"scale={FILM.width}:{FILM.height}:flags=bicubic,fps={FPS},settb=1/{FPS},format=yuv420p"
        parts += [f"[{2 * n}:v]{scale}[s{n}]", f"[s{n}][{2 * n + 1}:v]overlay=0:0[v{n}]"]
    for n in range(1, CLIPS):
        before = ("v0", "0:a") if n == 1 else (f"vx{n - 1}", f"ax{n - 1}")
        fade = f"duration={FADE_SECONDS}:offset={n * (CLIP_SECONDS - FADE_SECONDS)}"
        parts.append(f"[{before[0]}][v{n}]xfade=transition=fade:{fade}[vx{n}]")
        parts.append(f"[{before[1]}][{2 * n}:a]acrossfade=d={FADE_SECONDS}[ax{n}]")
    parts.append(f"[ax{CLIPS - 1}]loudnorm=I=-14:TP=-1,aresample=48000,aformat=channel_layouts=stereo[a]")
    video = "-c:v libx264 -preset superfast -crf 18 -g 60 -bf 2 -x264-params mbtree=1:rc-lookahead=10 -threads 4"
    audio = "-c:a aac -b:a 192k -movflags +faststart"
    graph = ["-filter_complex", ";".join(parts), "-map", f"[vx{CLIPS - 1}]", "-map", "[a]"]
    return [program, "-y", "-v", "error", *inputs, *graph, *video.split(), *audio.split(), str(folder / "ffmpeg.mp4")]


def _write_overlay(path: Path, text: str) -> None:
    """Write a picture of the size of the film with a caption as the embedded renderer places it."""
    picture = np.zeros((FILM.height, FILM.width, 4), np.uint8)
    if overlay := draw_overlay(text, FILM.width, FILM.height):
        rows, columns = overlay.alpha.shape
        area = picture[overlay.top : overlay.top + rows, overlay.left : overlay.left + columns]
        area[..., :3], area[..., 3] = overlay.picture.to_ndarray(format="rgb24"), overlay.alpha
    Image.fromarray(picture).save(path)


@asynccontextmanager
async def _render_service(folder: Path, clips: ClipFolder) -> AsyncIterator[str]:
    state = folder / "service"
    state.mkdir()
    settings = {"PORT": "0", "STATE_DIR": str(state), "ARTIFACTS": str(clips.folder), "CONCURRENCY": "1"}
    process = await asyncio.create_subprocess_exec(
        "node", str(SERVICE), env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=sys.stderr
    )
    assert process.stdout is not None
    try:
        while line := (await process.stdout.readline()).decode():
            if "listening on " in line:
                yield line.split("listening on ")[1].split()[0]
                return
        raise RuntimeError("The render service did not start; its error is above.")
    finally:
        process.terminate()
        await process.wait()


def write_clip(path: Path, *, seed: int) -> Path:
    """Write a clip of moving light with grain and sound: as much to decode and encode as a generated one."""
    rng = np.random.default_rng(seed)
    grain = rng.integers(-6, 7, (CLIP_HEIGHT + 64, CLIP_WIDTH), dtype=np.int16)
    slope = np.linspace(40, 200, CLIP_HEIGHT, dtype=np.int16)[:, None]
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", FPS, options={"preset": "superfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = CLIP_WIDTH, CLIP_HEIGHT, "yuv420p"
        audio = container.add_stream("aac", 48_000)
        audio.codec_context.layout, audio.codec_context.format = "stereo", "fltp"
        for number in range(CLIP_SECONDS * FPS):
            planes = np.full((CLIP_HEIGHT * 3 // 2, CLIP_WIDTH), 128, np.uint8)
            light = np.roll(slope, 4 * number, axis=0) + grain[number % 64 :][:CLIP_HEIGHT]
            planes[:CLIP_HEIGHT] = light.clip(16, 235)
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = 0.1 * rng.standard_normal(CLIP_SECONDS * 48_000).astype(np.float32)
        for start in range(0, sound.size, 1024):
            part = np.ascontiguousarray(np.tile(sound[start : start + 1024], (2, 1)))
            samples = av.AudioFrame.from_ndarray(part, "fltp", "stereo")
            samples.sample_rate, samples.pts, samples.time_base = 48_000, start, Fraction(1, 48_000)
            container.mux(audio.encode(samples))
        container.mux(audio.encode(None))
    return path
