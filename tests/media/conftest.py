"""Fixtures: small real clips, encoded here, and a store of files by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from providers.base import ArtifactMissing

SAMPLE_RATE = 48_000


@dataclass(frozen=True)
class ClipSpec:
    """The properties of a clip; the default is a clip that conforms."""

    seconds: float = 1.0
    width: int = 180
    height: int = 320
    fps: int = 30
    luma: int = 120
    is_moving: bool = True
    amplitude: float = 0.1
    sound: Callable[[np.ndarray], np.ndarray] | None = None  # samples at these times in seconds, instead of a tone
    is_interlaced: bool = False  # the odd rows of a frame are half a frame later
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    color: int = 1
    sample_aspect_ratio: Fraction = Fraction(1)
    rotation: int = 0
    frame_times: tuple[int, ...] = ()  # in 1/fps; consecutive if empty
    sample_rate: int = SAMPLE_RATE
    channel_layout: str | None = "stereo"
    video_streams: int = 1
    audio_streams: int = 1
    movflags: str = "+faststart"


def write_clip(path: Path, spec: ClipSpec) -> Path:
    """Encode a clip with these properties to `path`, and return it."""
    options = {"movflags": spec.movflags} if spec.movflags else {}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        videos = [_add_video_stream(container, spec) for _ in range(spec.video_streams)]
        audios = [_add_audio_stream(container, spec) for _ in range(spec.audio_streams if spec.channel_layout else 0)]
        for frame in _draw_frames(spec):
            for stream in videos:
                frame.pict_type = 0
                container.mux(stream.encode(frame))
        for stream in videos:
            container.mux(stream.encode(None))
        for stream in audios:
            for frame in _generate_tone(spec):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def _add_video_stream(container, spec):
    options = {"preset": "ultrafast", "crf": "20", "bf": "2"}
    if spec.codec == "libx265":
        options["x265-params"] = "log-level=none"
    stream = container.add_stream(spec.codec, spec.fps, options=options)
    stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, spec.pixel_format
    context = stream.codec_context
    context.time_base = Fraction(1, spec.fps)
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    context.colorspace = context.color_primaries = context.color_trc = spec.color
    context.color_range = 1 if spec.color == 1 else 0
    if spec.is_interlaced:
        stream.options = {**stream.options, "flags": "+ildct+ilme", "x264-params": "tff=1"}
    if spec.rotation:
        stream.set_display_rotation(spec.rotation)
    return stream


def _add_audio_stream(container, spec):
    stream = container.add_stream("aac", spec.sample_rate)
    stream.codec_context.layout = spec.channel_layout
    stream.codec_context.format = "fltp"
    return stream


def _draw_frames(spec):
    """Yield grey frames with some noise, a brighter top, and a bar that moves along the bottom."""
    noise = np.random.default_rng(1).integers(-3, 4, (spec.height, spec.width))
    for number, time in enumerate(spec.frame_times or range(round(spec.seconds * spec.fps))):
        luma = np.full((spec.height, spec.width), spec.luma)
        if spec.is_moving:
            luma[: spec.height // 8] += 60
            luma = luma + np.roll(noise, 7 * number, axis=0)
            left = number * 5 % (spec.width - 20)
            luma[-16:, left : left + 20] = 235
        if spec.is_interlaced:
            for field in (0, 1):
                left = (number * 2 + field) * 9 % (spec.width - 20)
                luma[field::2, left : left + 20] = 235
        planes = [np.clip(luma, 16, 235).astype(np.uint8).ravel()]
        planes.append(np.full(spec.width * spec.height // 2, 128, np.uint8))
        pixels = np.concatenate(planes).reshape(spec.height * 3 // 2, spec.width)
        frame = av.VideoFrame.from_ndarray(pixels, "yuv420p")
        if spec.pixel_format != "yuv420p":
            frame = frame.reformat(format=spec.pixel_format)
        frame.pts, frame.time_base = time, Fraction(1, spec.fps)
        yield frame


def _generate_tone(spec):
    count = round(spec.seconds * spec.sample_rate)
    channels = 1 if spec.channel_layout == "mono" else 2
    at = np.arange(count) / spec.sample_rate
    tone = spec.sound(at) if spec.sound else spec.amplitude * np.sin(2 * np.pi * 440 * at)
    audio = np.tile(tone.astype(np.float32), (channels, 1))
    for start in range(0, count, 1024):
        part = np.ascontiguousarray(audio[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=spec.channel_layout)
        frame.sample_rate, frame.pts, frame.time_base = spec.sample_rate, start, Fraction(1, spec.sample_rate)
        yield frame


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that encodes a clip once per session: `clip(luma=60, …)`. Do not modify the file."""
    folder = tmp_path_factory.mktemp("clips")
    paths: dict[ClipSpec, Path] = {}

    def get(**properties) -> Path:
        spec = replace(ClipSpec(), **properties)
        if spec not in paths:
            paths[spec] = write_clip(folder / f"{len(paths)}.mp4", spec)
        return paths[spec]

    return get


class FakeFileStore:
    """Stored files by digest."""

    def __init__(self) -> None:
        self.paths: dict[str, Path] = {}

    def put(self, path: Path) -> str:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.paths[digest] = path
        return digest

    async def local_path(self, digest: str) -> Path:
        if digest not in self.paths:
            raise ArtifactMissing(digest)
        return self.paths[digest]


@pytest.fixture
def file_store() -> FakeFileStore:
    return FakeFileStore()
