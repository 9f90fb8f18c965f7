"""Small real clips, made here, and the ways they can be broken."""

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

RATE = 48_000


@dataclass(frozen=True)
class Recipe:
    """A clip as it is to be: by default one that needs no mending."""

    seconds: float = 1.0
    width: int = 180
    height: int = 320
    fps: int = 30
    luma: int = 120
    moving: bool = True
    volume: float = 0.1
    codec: str = "libx264"
    pixels: str = "yuv420p"
    colour: int = 1
    square: Fraction = Fraction(1)
    rotation: int = 0
    times: tuple[int, ...] = ()  # of each picture, in 1/fps; else one after the other
    sound_rate: int = RATE
    layout: str | None = "stereo"
    videos: int = 1
    sounds: int = 1
    movflags: str = "+faststart"


def make(path: Path, recipe: Recipe) -> Path:
    """Write the clip."""
    options = {"movflags": recipe.movflags} if recipe.movflags else {}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        videos = [_video(container, recipe) for _ in range(recipe.videos)]
        sounds = [_sound(container, recipe) for _ in range(recipe.sounds if recipe.layout else 0)]
        for frame in _pictures(recipe):
            for stream in videos:
                frame.pict_type = 0
                container.mux(stream.encode(frame))
        for stream in videos:
            container.mux(stream.encode(None))
        for stream in sounds:
            for frame in _samples(recipe):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def _video(container, recipe):
    options = {"preset": "ultrafast", "crf": "20", "bf": "2"}
    if recipe.codec == "libx265":
        options["x265-params"] = "log-level=none"
    stream = container.add_stream(recipe.codec, recipe.fps, options=options)
    stream.width, stream.height, stream.pix_fmt = recipe.width, recipe.height, recipe.pixels
    context = stream.codec_context
    context.time_base = Fraction(1, recipe.fps)
    context.sample_aspect_ratio = recipe.square
    context.colorspace = context.color_primaries = context.color_trc = recipe.colour
    context.color_range = 1 if recipe.colour == 1 else 0
    if recipe.rotation:
        stream.set_display_rotation(recipe.rotation)
    return stream


def _sound(container, recipe):
    stream = container.add_stream("aac", recipe.sound_rate)
    stream.codec_context.layout = recipe.layout
    stream.codec_context.format = "fltp"
    return stream


def _pictures(recipe):
    """A grey picture with a little grain; its top is brighter, and a bar moves along its foot."""
    grain = np.random.default_rng(1).integers(-3, 4, (recipe.height, recipe.width))
    for number, time in enumerate(recipe.times or range(round(recipe.seconds * recipe.fps))):
        luma = np.full((recipe.height, recipe.width), recipe.luma)
        if recipe.moving:
            luma[: recipe.height // 8] += 60
            luma = luma + np.roll(grain, 7 * number, axis=0)
            at = number * 5 % (recipe.width - 20)
            luma[-16:, at : at + 20] = 235
        planes = [np.clip(luma, 16, 235).astype(np.uint8).ravel()]
        planes.append(np.full(recipe.width * recipe.height // 2, 128, np.uint8))
        picture = np.concatenate(planes).reshape(recipe.height * 3 // 2, recipe.width)
        frame = av.VideoFrame.from_ndarray(picture, "yuv420p")
        if recipe.pixels != "yuv420p":
            frame = frame.reformat(format=recipe.pixels)
        frame.pts, frame.time_base = time, Fraction(1, recipe.fps)
        yield frame


def _samples(recipe):
    count = round(recipe.seconds * recipe.sound_rate)
    channels = 1 if recipe.layout == "mono" else 2
    tone = recipe.volume * np.sin(2 * np.pi * 440 * np.arange(count) / recipe.sound_rate)
    sound = np.tile(tone.astype(np.float32), (channels, 1))
    for start in range(0, count, 1024):
        part = np.ascontiguousarray(sound[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=recipe.layout)
        frame.sample_rate, frame.pts, frame.time_base = recipe.sound_rate, start, Fraction(1, recipe.sound_rate)
        yield frame


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`clip(luma=60, …)`: the path of a clip by recipe, made once a session. Never write to it."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[Recipe, Path] = {}

    def get(**wanted) -> Path:
        recipe = replace(Recipe(), **wanted)
        if recipe not in made:
            made[recipe] = make(folder / f"{len(made)}.mp4", recipe)
        return made[recipe]

    return get


class Shelf:
    """Kept files, by digest; as many as a test puts there."""

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
def shelf() -> Shelf:
    return Shelf()
