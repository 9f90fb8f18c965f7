"""Stage of a shot: its canvas and camera, and the noise, rays and motes that move on it."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sandbox.painting import Field, Picture, add_light, blur, ramp, smooth

#: A canvas is so much larger than the part that the camera sees.
MARGIN = 1.16
WIDE, CLOSE, DETAIL = range(3)
#: Level 0..255 from which light is compressed, and by how much, so that highlights keep their shape.
SHOULDER, COMPRESSION = 200, 0.5
Pair = tuple[()] | tuple[float, float]


@dataclass(frozen=True)
class Shot:
    """One shot of a film: its seeds, its framing (WIDE, CLOSE or DETAIL) and its length in seconds.

    Shots with equal `place` show the same place in the same light; a reverse shot shows it from the other side.
    """

    place: int
    seed: int
    framing: int
    seconds: float
    is_reverse: bool = False


class Stage:
    """Canvas of a shot: coordinates (y from -1 at the top to 1, x in the same unit), random numbers and camera."""

    def __init__(self, width: int, height: int, shot: Shot) -> None:
        self.view, self.shot, self.aspect = (width, height), shot, width / height
        self.width, self.height = round(width * MARGIN), round(height * MARGIN)
        #: The pixels of a length that is one of 740 in the height of the canvas.
        self.unit = self.height / 740
        #: Random numbers that all shots of a film share, and those of this shot.
        self.place, self.rng = np.random.default_rng(shot.place), np.random.default_rng(shot.seed)
        reach = np.float32(MARGIN)
        self.x: Field = np.linspace(-reach * self.aspect, reach * self.aspect, self.width, dtype=np.float32)[None, :]
        self.y: Field = np.linspace(-reach, reach, self.height, dtype=np.float32)[:, None]
        self._turn = float(self.rng.choice((-1, 1)))
        self._vignette = ((1.06 - 0.10 * (self.x / self.aspect) ** 2 - 0.12 * self.y**2) * 255).astype(np.float32)
        # Noise of one level hides the steps of 8 bits.
        self._dither = np.random.default_rng(1).random((self.height, self.width), dtype=np.float32)

    def pick(self, wide: float, close: float, detail: float) -> float:
        """Return the value for the framing of the shot."""
        return (wide, close, detail)[self.shot.framing]

    def glow(self, x: float, y: float, radius: float, flat: float = 1.0) -> Field:
        """Return a soft light around a point; `flat` over 1 makes it wider than high."""
        return np.exp(-(((self.x - x) / flat) ** 2 + (self.y - y) ** 2) / np.float32(radius**2))

    def sky(self, horizon: float, *colors: Picture) -> Picture:
        """Return a sky with the first colour at the top and the last at the horizon."""
        return ramp((self.y + MARGIN) / (horizon + MARGIN) + 0 * self.x, *colors)

    def film(self, canvas: Picture, t: float) -> Picture:
        """Return what the camera sees at time `t` as RGB of 8 bits: it pushes in, glides or pulls back."""
        part = 2 * t / self.shot.seconds - 1
        move = DETAIL if self.shot.is_reverse else self.shot.framing
        zoom = 1.05 + (0.045, 0.0, -0.045)[move] * part
        across = (0.15, 0.75, 0.25)[move] * self._turn * part + 0.05 * math.sin(0.9 * t)
        down = (0.10, 0.08, -0.55)[move] * part + 0.05 * math.sin(0.7 * t + 1)
        width, height = self.view[0] / zoom, self.view[1] / zoom
        left, top = (self.width - width) * (0.5 + 0.45 * across), (self.height - height) * (0.5 + 0.45 * down)
        if self.shot.is_reverse:
            canvas = canvas[:, :, ::-1]
        # Only what the camera sees is developed, a colour at a time.
        rows = slice(max(0, int(top) - 2), int(top + height) + 3)
        columns = slice(max(0, int(left) - 2), int(left + width) + 3)
        seen, vignette, dither = canvas[:, rows, columns], self._vignette[rows, columns], self._dither[rows, columns]
        levels = np.empty((*vignette.shape, 3), np.uint8)
        for number, plane in enumerate(seen):
            light = plane * vignette
            light += dither
            np.minimum(light, light * COMPRESSION + SHOULDER * (1 - COMPRESSION), out=light)
            levels[:, :, number] = np.clip(light, 0, 255, out=light)
        left, top = left - columns.start, top - rows.start
        box = (left, top, left + width, top + height)
        return np.asarray(Image.fromarray(levels).resize(self.view, Image.Resampling.BICUBIC, box=box))

    def pixel(self, x: float, y: float) -> tuple[float, float]:
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
        across = np.fft.rfftfreq(size)[None, :] * size * stretch
        distance = np.hypot(across, np.fft.fftfreq(size)[:, None] * size)
        spectrum = (distance + coarse) ** -power * np.exp(2j * np.pi * rng.random(distance.shape))
        spectrum[0, 0] = 0
        noise = np.fft.irfft2(spectrum, (size, size))
        self.field: Field = np.clip(0.5 + 0.22 * noise / noise.std(), 0, 1).astype(np.float32)
        self._tiled = Image.fromarray(np.tile(self.field, (2, 2)))

    def view(self, stage: Stage, scale: float, x: float = 0, y: float = 0, step: int = 2, edges: Pair = ()) -> Field:
        """Return a window onto the noise, moved by (x, y): a larger `scale` shows more, a larger `step` less detail.

        `edges` are the levels of a soft step from 0 to 1.
        """
        high = min(1.0, scale) * self.size
        wide = min(self.size, high * stage.aspect)
        left, top = x * self.size % self.size, y * self.size % self.size
        size, box = (max(2, stage.width // step), max(2, stage.height // step)), (left, top, left + wide, top + high)
        small = self._tiled.resize(size, Image.Resampling.BILINEAR, box=box)
        if edges:
            small = Image.fromarray(smooth(*edges, np.asarray(small)))
        return np.asarray(small.resize((stage.width, stage.height), Image.Resampling.BILINEAR), dtype=np.float32)


class Rays:
    """Rays of light that fan out from a point above the canvas."""

    #: Steps of a texel.
    FINE = 16

    def __init__(self, stage: Stage, rng: np.random.Generator, x: float, y: float) -> None:
        light = blur(Texture(rng, power=1.3, coarse=3).field, 1.5)[0]
        self.light = np.interp(np.arange(0, light.size, 1 / self.FINE), np.arange(light.size), light).astype(np.float32)
        self.angle = (np.arctan2(stage.x - x, stage.y - y) * 160 * self.FINE).astype(np.intp)

    def view(self, shift: float) -> Field:
        """Return the rays, turned by this many texels."""
        return np.take(self.light, self.angle + round(shift * self.FINE), mode="wrap")


class Motes:
    """Small bright dots that drift: dust, snow, bubbles or sparks; speeds are in heights per second."""

    def __init__(self, stage: Stage, count: int, radius: float, down: float = 0.01, sway: float = 0.02) -> None:
        self.stage, self.sway, rng = stage, sway, stage.rng
        near = rng.uniform(0.35, 1, count) ** 2
        size, fall = near * radius * stage.unit * stage.pick(1, 1.4, 2), near * down * rng.uniform(0.7, 1.3, count)
        dots = [*rng.uniform(0, 1.1, (2, count)), size, fall, rng.uniform(0, 6.28, count), rng.uniform(0.4, 1, count)]
        self.dots: list[list[float]] = np.stack(dots, axis=1).tolist()

    def draw(self, canvas: Picture, t: float, light: Picture, drift: float = 0.0) -> None:
        """Add the dots at time `t` to the canvas."""
        for x, y, radius, fall, phase, glow in self.dots:
            across = x + drift * t * (0.4 + radius / 6) + self.sway * math.sin(0.9 * t + phase)
            left, top = (across % 1.1 - 0.05) * self.stage.width, ((y + fall * t) % 1.1 - 0.05) * self.stage.height
            twinkle = np.float32(glow * (0.75 + 0.25 * math.sin(1.7 * t + 3 * phase)))
            add_light(canvas, left, top, max(0.8, radius), light * twinkle, is_disc=radius > 4)
