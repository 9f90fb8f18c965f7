"""Tools of the painters: colours, blur, soft steps and small lights.

A field has the shape (height, width), a picture (3, height, width); both are float32 and about 0..1.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]
Picture = NDArray[Any]
Number = float | np.floating[Any]
#: Returns the picture at a time in seconds.
Painter = Callable[[float], Picture]


def blur(field: Field, radius: float) -> Field:
    """Return the field blurred by a Gaussian of this radius in pixels; edges are extended."""
    pad = min(int(3 * radius) + 1, min(field.shape[-2:]) - 1)
    wide = np.pad(field, [(0, 0)] * (field.ndim - 2) + [(pad, pad)] * 2, mode="edge")
    down, across = np.fft.fftfreq(wide.shape[-2])[:, None], np.fft.rfftfreq(wide.shape[-1])[None, :]
    soft = np.exp(-2 * (np.pi * radius) ** 2 * (down**2 + across**2)).astype(np.float32)
    blurred = np.fft.irfft2(np.fft.rfft2(wide) * soft, wide.shape[-2:])
    return np.asarray(blurred[..., pad:-pad, pad:-pad], dtype=np.float32)


def color(code: str) -> Picture:
    """Return a colour such as "ffcc88" as a picture of one pixel."""
    return np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)], np.float32)[:, None, None]


def ramp(field: Field, *colors: Picture) -> Picture:
    """Return the field coloured: 0 has the first of these colours, 1 the last."""
    at, fine = np.linspace(0, 1, len(colors)), np.linspace(0, 1, 1024)
    table = np.stack([np.interp(fine, at, stop) for stop in np.stack(colors, 1)[:, :, 0, 0]]).astype(np.float32)
    return table.take((np.clip(field, 0, 1) * 1023).astype(np.intp), axis=1)


def mix(below: Picture, above: Picture, mask: Field | Number) -> Picture:
    """Return the picture `above` over `below` where the mask is 1."""
    return below + (above - below) * mask


def smooth(start: Field | Number, end: Field | Number, field: Field | Number) -> Field:
    """Return 0 where the field is at `start`, 1 where it is at `end`, and a soft step between them."""
    part = np.clip((field - start) * (1 / (end - start)), 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)


def add_light(canvas: Picture, x: float, y: float, radius: float, light: Picture, *, is_disc: bool = False) -> None:
    """Add a soft dot, or an out-of-focus disc that is brighter at its rim, around a canvas pixel."""
    column, row = math.floor(x), math.floor(y)
    # A quarter of a pixel is fine enough, and lets moving lights share their shapes.
    soft = _shape_light(round(4 * radius) / 4, round(4 * (x - column)) / 4, round(4 * (y - row)) / 4, is_disc)
    left, top = column - soft.shape[1] // 2, row - soft.shape[0] // 2
    soft = soft[max(0, -top) : max(0, canvas.shape[1] - top), max(0, -left) : max(0, canvas.shape[2] - left)]
    left, top = max(0, left), max(0, top)
    canvas[:, top : top + soft.shape[0], left : left + soft.shape[1]] += light * soft


@lru_cache(2048)
def _shape_light(radius: float, x: float, y: float, is_disc: bool) -> Field:
    """Return a dot or disc of this radius around (x, y), relative to the middle of the field."""
    reach = math.ceil(radius * (1.1 if is_disc else 2.4)) + 1
    at = np.arange(-reach, reach + 1, dtype=np.float32)
    distance: Field = ((at[None, :] - x) / radius) ** 2 + ((at[:, None] - y) / radius) ** 2
    return smooth(1.08, 0.8, distance) * (0.72 + 0.28 * distance) if is_disc else np.exp(-distance)


def outline(rng: np.random.Generator, x: Field, waves: int, detail: float = 0.6) -> Field:
    """Return a random curve of about -1..1 over x, summed from this many waves, each finer than the last."""
    curves = [detail**n * np.sin(1.9**n * rng.uniform(1.2, 2.0) * x + rng.uniform(0, 6.28)) for n in range(waves)]
    return np.asarray(sum(curves) / (0.7 * sum(detail**n for n in range(waves))), np.float32)
