"""Gentle movement: a slow push-in on passages of a clip in which the picture does not change."""

from collections import deque
from collections.abc import Iterator

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from providers.media.video_frames import create_frame, view_planes

MAX_ZOOM = 0.045
#: The push-in starts and stops over this time.
EASE_SECONDS = 0.8
#: A passage is still if its blocks change by less than this on average, of 255, within this time.
STILL_DIFFERENCE, STILL_SECONDS = 0.5, 0.4
_SAMPLE_STEP, _BLOCK_SAMPLES = 8, 8


def push_in(frames: Iterator[VideoFrame], count: int, fps: int) -> Iterator[VideoFrame]:
    """Yield the `count` frames of a clip, enlarged slowly by up to `MAX_ZOOM` while the picture is still.

    Where it moves, the enlargement stops and stays as it is. A clip that always moves is not changed.
    """
    fastest = 1.25 * MAX_ZOOM / max(count, round(2 * EASE_SECONDS * fps))
    change = fastest / (EASE_SECONDS * fps)
    zoom, speed, history = 0.0, 0.0, deque[NDArray[np.float32]](maxlen=max(2, round(STILL_SECONDS * fps)))
    for frame in frames:
        history.append(_sample_blocks(frame))
        is_still = len(history) == history.maxlen and bool(np.abs(history[-1] - history[0]).mean() < STILL_DIFFERENCE)
        has_room = zoom + speed + speed**2 / (2 * change) < MAX_ZOOM
        speed = min(fastest, speed + change) if is_still and has_room else max(0.0, speed - change)
        zoom = min(MAX_ZOOM, zoom + speed)
        yield _enlarge(frame, 1 + zoom) if zoom else frame


def _sample_blocks(frame: VideoFrame) -> NDArray[np.float32]:
    """Return the mean luma of blocks of the picture, each from a sample of its pixels: grain averages out."""
    samples = view_planes(frame)[0][::_SAMPLE_STEP, ::_SAMPLE_STEP].astype(np.float32)
    return np.asarray(Image.fromarray(samples).reduce(_BLOCK_SAMPLES))


def _enlarge(frame: VideoFrame, scale: float) -> VideoFrame:
    """Return the middle of the frame at this scale, in its size; positions are fractions of a pixel."""
    target = create_frame(frame.width, frame.height)
    for source, out in zip(view_planes(frame), view_planes(target), strict=True):
        height, width = source.shape
        left, top = ((length - length / scale) / 2 for length in (width, height))
        picture, box = Image.fromarray(source), (left, top, width - left, height - top)
        out[...] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box))
    return target
