"""Gentle movement: a slow push-in on passages of a clip in which the picture does not change."""

from collections import deque
from collections.abc import Iterator

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from providers.media.video_frames import create_frame, view_planes

MAX_ZOOM = 0.045
#: The push-in starts and stops over this time.
EASE_SECONDS = 0.8
#: A passage is still if its blocks change by less than this on average, of 255, within this time.
STILL_DIFFERENCE, STILL_SECONDS = 0.5, 0.4
_SAMPLE_STEP, _BLOCK_SAMPLES = 8, 8
_STRIPE_ROWS = 64  # small enough for the processor's cache


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
    samples = view_planes(frame)[0][::_SAMPLE_STEP, ::_SAMPLE_STEP]
    rows, columns = (length // _BLOCK_SAMPLES * _BLOCK_SAMPLES or length for length in samples.shape)
    height, width = min(_BLOCK_SAMPLES, rows), min(_BLOCK_SAMPLES, columns)
    blocks = samples[:rows, :columns].reshape(rows // height, height, columns // width, width)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def _enlarge(frame: VideoFrame, scale: float) -> VideoFrame:
    """Return the middle of the frame at this scale, in its size; positions are exact to 1/128 of a pixel."""
    target = create_frame(frame.width, frame.height)
    for source, out in zip(view_planes(frame), view_planes(target), strict=True):
        rows, row_shares = _source_positions(source.shape[0], scale)
        columns, column_shares = _source_positions(source.shape[1], scale)
        for start in range(0, source.shape[0], _STRIPE_ROWS):
            stripe = slice(start, start + _STRIPE_ROWS)
            lines = _mix(source[rows[stripe]], source[rows[stripe] + 1], row_shares[stripe, None])
            out[stripe] = _mix(np.take(lines, columns, axis=1), np.take(lines, columns + 1, axis=1), column_shares)
    return target


def _source_positions(length: int, scale: float) -> tuple[NDArray[np.intp], NDArray[np.int16]]:
    """Return for each pixel of a line the pixel before its place in the source, and the share of the next, of 128."""
    middle = (length - 1) / 2
    places = (np.arange(length) - middle) / scale + middle
    before = np.clip(np.floor(places).astype(np.intp), 0, length - 2)
    return before, np.round((places - before) * 128).astype(np.int16)


def _mix(
    first: NDArray[np.uint8] | NDArray[np.int16],
    second: NDArray[np.uint8] | NDArray[np.int16],
    share: NDArray[np.int16],
) -> NDArray[np.int16]:
    mixed = np.subtract(second, first, dtype=np.int16)
    mixed *= share
    mixed += 64
    mixed >>= 7
    mixed += first
    return mixed
