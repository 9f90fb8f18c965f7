"""Clips with white flashes and tones at known times, and their positions in a film."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

SAMPLE_RATE, WIDTH, HEIGHT = 48_000, 180, 320
MARKS = (1.0, 3.0)  # seconds


@dataclass(frozen=True)
class MarkedClip:
    """The properties of a clip of 4 s; the default is one that conforms."""

    fps: int = 30
    is_tagged: bool = True
    #: Parts of the sound that the file does not contain, in seconds.
    gaps: tuple[tuple[float, float], ...] = ()
    sound_from: float = 0.0
    picture_from: float = 0.0
    #: The picture that starts before this time is displayed until 4.0 s.
    picture_until: float = 4.0
    #: B-frames are in another order in the file.
    b_frames: int = 0
    timecode: str = ""
    movflags: str = "+faststart"


def write_marked_clip(path: Path, spec: MarkedClip) -> Path:
    """Encode the clip to `path`, with an edit list like ffmpeg, and return it."""
    with av.open(str(path), "w", format="mp4", options={"movflags": spec.movflags or "use_metadata_tags"}) as container:
        video = container.add_stream("libx264", spec.fps, options={"preset": "ultrafast", "bf": str(spec.b_frames)})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        tag = 1 if spec.is_tagged else 2
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = tag
        context.color_range = 1 if spec.is_tagged else 0
        if spec.timecode:
            video.metadata["timecode"] = spec.timecode
        audio = container.add_stream("aac", SAMPLE_RATE, layout="stereo")
        packets = [packet for frame in [*_draw_frames(spec), None] for packet in video.encode(frame)]
        packets[-1].duration = round(4 / packets[-1].time_base) - packets[-1].pts
        sounds = [packet for frame in [*_sound_frames(), None] for packet in audio.encode(frame)]
        for packet in sorted([*packets, *filter(_is_in(spec), sounds)], key=lambda each: each.dts * each.time_base):
            container.mux(packet)
    return path


def _is_in(spec: MarkedClip):
    def keep(packet) -> bool:
        at = float(packet.pts * packet.time_base)
        is_in_gap = any(start <= at < end for start, end in spec.gaps)
        return (at >= spec.sound_from or not spec.sound_from) and not is_in_gap

    return keep


def _draw_frames(spec: MarkedClip):
    for number in range(round(spec.picture_from * spec.fps), round(spec.picture_until * spec.fps)):
        at = number / spec.fps
        luma = np.full((HEIGHT, WIDTH), 60, np.uint8)
        luma[:, number % WIDTH] = 200
        if any(-0.001 <= at - mark < 0.034 for mark in MARKS):
            luma[:] = 235
        pixels = np.concatenate([luma.ravel(), np.full(WIDTH * HEIGHT // 2, 128, np.uint8)])
        frame = av.VideoFrame.from_ndarray(pixels.reshape(HEIGHT * 3 // 2, WIDTH), "yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, spec.fps)
        yield frame


def _sound_frames():
    at = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    is_on = np.any([(at >= mark) & (at < mark + 0.04) for mark in MARKS], axis=0)
    tone = np.tile((0.7 * np.sin(2 * np.pi * 1000 * at) * is_on).astype(np.float32), (2, 1))
    for start in range(0, tone.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(tone[:, start : start + 1024]), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield frame


def find_flashes(path: Path) -> list[float]:
    """Return the times in seconds at which a white flash starts."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray()[:HEIGHT, :WIDTH].mean()) for frame in container.decode(video=0)]
    return [at for (_, before), (at, luma) in pairwise(frames) if luma > 180 >= before]


def find_tones(path: Path) -> list[float]:
    """Return the times in seconds at which a tone starts."""
    with av.open(str(path)) as container:
        frames = [(frame.time, np.abs(frame.to_ndarray()).max(axis=0)) for frame in container.decode(audio=0)]
    levels = np.concatenate([level for _, level in frames])
    loud = np.flatnonzero(levels > levels.max() / 3) / SAMPLE_RATE + frames[0][0]
    return [float(at) for at, before in zip(loud, [-1.0, *loud], strict=False) if at - before > 0.5]
