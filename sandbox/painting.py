"""Tools of the painters: the stage of a shot, noise, colours, blur and small lights.

A field has the shape (height, width), a picture (3, height, width); both are float32 and about 0..1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[Any]
Picture = NDArray[Any]
Number = float | np.floating[Any]
#: Returns the picture at a time in seconds.
Painter = Callable[[float], Picture]

#: A canvas is so much larger than the part that the camera sees.
MARGIN = 1.16
WIDE, CLOSE, DETAIL = range(3)


@dataclass(frozen=True)
class Shot:
    """One shot of a film: its seeds, its framing (WIDE, CLOSE or DETAIL) and its length in seconds.

    Shots with equal `place` show the same place in the same light.
    """

    place: int
    seed: int
    framing: int
    seconds: float


class Stage:
    """Canvas of a shot: coordinates (y from -1 at the top to 1, x in the same unit), random numbers and camera."""

    def __init__(self, width: int, height: int, shot: Shot) -> None:
        self.view = (width, height)
        self.width, self.height = round(width * MARGIN), round(height * MARGIN)
        self.framing, self.seconds = shot.framing, shot.seconds
        #: Random numbers that all shots of a film share, and those of this shot.
        self.place, self.rng = np.random.default_rng(shot.place), np.random.default_rng(shot.seed)
        self.aspect = width / height
        reach = np.float32(MARGIN)
        self.x: Field = np.linspace(-reach * self.aspect, reach * self.aspect, self.width, dtype=np.float32)[None, :]
        self.y: Field = np.linspace(-reach, reach, self.height, dtype=np.float32)[:, None]
        self._turn = float(self.rng.choice((-1, 1)))

    def pick(self, wide: float, close: float, detail: float) -> float:
        """Return the value for the framing of the shot."""
        return (wide, close, detail)[self.framing]

    def glow(self, x: float, y: float, radius: float, flat: float = 1.0) -> Field:
        """Return a soft light around a point; `flat` over 1 makes it wider than high."""
        return np.exp(-(((self.x - x) / flat) ** 2 + (self.y - y) ** 2) / np.float32(radius**2))

    def film(self, canvas: Picture, t: float) -> Picture:
        """Return the part of the canvas that the camera sees at time `t`: it pushes in, glides or pulls back."""
        part = 2 * t / self.seconds - 1
        zoom = 1.05 + (0.045, 0.0, -0.045)[self.framing] * part
        across = (0.15, 0.75, 0.25)[self.framing] * self._turn * part + 0.05 * math.sin(0.9 * t)
        down = (0.10, 0.08, -0.55)[self.framing] * part + 0.05 * math.sin(0.7 * t + 1)
        size = (self.view[0] / zoom, self.view[1] / zoom)
        free = (self.width - size[0], self.height - size[1])
        left, top = free[0] * (0.5 + 0.45 * across), free[1] * (0.5 + 0.45 * down)
        box = (left, top, left + size[0], top + size[1])
        return np.stack([resize(channel, *self.view, box=box) for channel in canvas])

    def sharp(self, x: float, y: float) -> tuple[float, float]:
        """Return the canvas pixel of a point."""
        return (x / self.aspect / MARGIN + 1) / 2 * self.width, (y / MARGIN + 1) / 2 * self.height


class Texture:
    """Noise that repeats seamlessly.

    A higher `power` is softer, a `stretch` over 1 wider than high, a higher `coarse` finer; `size` is in pixels.
    """

    def __init__(
        self, rng: np.random.Generator, power: float = 1.6, stretch: float = 1.0, coarse: float = 2.0, size: int = 384
    ) -> None:
        self.size = size
        across = np.fft.rfftfreq(self.size)[None, :] * self.size * stretch
        down = np.fft.fftfreq(self.size)[:, None] * self.size
        distance = np.sqrt(across**2 + down**2)
        spectrum = (distance + coarse) ** -power * np.exp(2j * np.pi * rng.random(distance.shape))
        spectrum[0, 0] = 0
        noise = np.fft.irfft2(spectrum, (self.size, self.size))
        self.field: Field = np.clip(0.5 + 0.22 * noise / noise.std(), 0, 1).astype(np.float32)
        self.tiled = np.tile(self.field, (2, 2))

    def view(self, stage: Stage, scale: float, x: float = 0, y: float = 0, flat: float = 1.0, step: int = 2) -> Field:
        """Return a window onto the noise, moved by (x, y): a larger `scale` shows more, a larger `step` less detail."""
        high = min(1.0, scale) * self.size
        wide = min(self.size, high * stage.aspect / flat)
        left, top = x * self.size % self.size, y * self.size % self.size
        box = (left, top, left + wide, top + high)
        small = resize(self.tiled, max(2, stage.width // step), max(2, stage.height // step), box=box)
        return small if step == 1 else resize(small, stage.width, stage.height)


def resize(field: Field, width: int, height: int, box: tuple[float, float, float, float] | None = None) -> Field:
    """Return the field, or the box (left, top, right, bottom) of it, in another size."""
    image = Image.fromarray(np.ascontiguousarray(field))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box), dtype=np.float32)


def blur(field: Field, radius: float) -> Field:
    """Return the field blurred by a Gaussian of this radius in pixels; edges are extended."""
    pad = min(int(3 * radius) + 1, min(field.shape[-2:]) - 1)
    wide = np.pad(field, [(0, 0)] * (field.ndim - 2) + [(pad, pad)] * 2, mode="edge")
    down, across = np.fft.fftfreq(wide.shape[-2])[:, None], np.fft.rfftfreq(wide.shape[-1])[None, :]
    soft = np.exp(-2 * (np.pi * radius) ** 2 * (down**2 + across**2))
    blurred = np.fft.irfft2(np.fft.rfft2(wide) * soft, wide.shape[-2:])
    return np.asarray(blurred[..., pad:-pad, pad:-pad], dtype=np.float32)


def color(code: str) -> Picture:
    """Return a colour such as "ffcc88" as a picture of one pixel."""
    return np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)], np.float32)[:, None, None]


def ramp(field: Field, *codes: str) -> Picture:
    """Return the field coloured: 0 has the first of these colours, 1 the last."""
    stops = np.concatenate([color(code)[:, :, 0] for code in codes], axis=1)
    at = np.linspace(0, 1, stops.shape[1])
    table = np.stack([np.interp(np.linspace(0, 1, 1024), at, stop) for stop in stops]).astype(np.float32)
    return table[:, (np.clip(field, 0, 1) * 1023).astype(np.int16)]


def mix(below: Picture, above: Picture, mask: Field | Number) -> Picture:
    """Return the picture `above` over `below` where the mask is 1."""
    return below + (above - below) * mask


def smooth(start: Field | Number, end: Field | Number, field: Field | Number) -> Field:
    """Return 0 where the field is at `start`, 1 where it is at `end`, and a soft step between them."""
    part = np.clip((field - start) * (1 / (end - start)), 0, 1)
    return np.asarray(part * part * (3 - 2 * part))


def add_light(canvas: Picture, x: float, y: float, radius: float, light: Picture, *, is_disc: bool = False) -> None:
    """Add a soft dot, or an out-of-focus disc that is brighter at its rim, around a canvas pixel."""
    reach = math.ceil(radius * (1.1 if is_disc else 2.4))
    left, top = max(0, int(x) - reach), max(0, int(y) - reach)
    right, bottom = min(canvas.shape[2], int(x) + reach + 2), min(canvas.shape[1], int(y) + reach + 2)
    if left >= right or top >= bottom:
        return
    across = (np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)) / np.float32(radius)
    down = (np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)) / np.float32(radius)
    distance = across * across + down * down
    soft = smooth(1.08, 0.8, distance) * (0.72 + 0.28 * distance) if is_disc else np.exp(-distance)
    canvas[:, top:bottom, left:right] += light * soft


def outline(rng: np.random.Generator, x: Field, waves: int, detail: float = 0.6) -> Field:
    """Return a random curve of about -1..1 over x, summed from this many waves, each finer than the last."""
    total, weight = np.zeros_like(x), 0.0
    for wave in range(waves):
        strength = detail**wave
        total += np.float32(strength) * np.sin(1.9**wave * rng.uniform(1.2, 2.0) * x + rng.uniform(0, 6.28))
        weight += strength
    return total / np.float32(0.7 * weight)


class Motes:
    """Small bright dots that drift: dust, snow, bubbles or sparks; speeds are in heights per second."""

    def __init__(self, stage: Stage, count: int, radius: float, down: float = 0.01, sway: float = 0.02) -> None:
        self.stage, self.sway = stage, sway
        rng, scale = stage.rng, stage.height / 740
        near = rng.uniform(0.35, 1, count) ** 2
        self.dots = np.stack(
            [
                rng.uniform(0, 1.1, count),
                rng.uniform(0, 1.1, count),
                near * radius * scale * stage.pick(1, 1.4, 2),
                near * down * rng.uniform(0.7, 1.3, count) * stage.pick(1, 1.3, 1.6),
                rng.uniform(0, 6.28, count),
                rng.uniform(0.4, 1.0, count),
            ],
            axis=1,
        )

    def draw(self, canvas: Picture, t: float, light: Picture, drift: float = 0.0) -> None:
        """Add the dots at time `t` to the canvas."""
        for x, y, radius, fall, phase, glow in self.dots.tolist():
            left = (
                (x + drift * t * (0.4 + radius / 6) + self.sway * math.sin(0.9 * t + phase)) % 1.1 - 0.05
            ) * self.stage.width
            top = ((y + fall * t) % 1.1 - 0.05) * self.stage.height
            twinkle = np.float32(glow * (0.75 + 0.25 * math.sin(1.7 * t + 3 * phase)))
            add_light(canvas, left, top, max(0.8, radius), light * twinkle, is_disc=radius > 4)
