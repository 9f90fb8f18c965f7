"""Scenes: moving brightness fields, computed at low resolution and coloured by a palette."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


class Scene(Protocol):
    """Moving scene that is a brightness field of about 0..1 at any time."""

    def field_at(self, t: float) -> Field:
        """Return the field at time `t`, in seconds."""
        ...


class Grid:
    """Coordinates of the points of a field: y from -1 (top) to 1, x in the same unit."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        aspect = width / height
        self.x: Field = np.linspace(-aspect, aspect, width, dtype=np.float32)[None, :]
        self.y: Field = np.linspace(-1, 1, height, dtype=np.float32)[:, None]

    def vignette(self) -> Field:
        """Return factors that darken the field softly towards the edges."""
        across = self.x / self.x.max()
        return np.asarray(1.04 - 0.11 * across**2 - 0.14 * self.y**2, dtype=np.float32)


class Silk:
    """Flowing folds of cloth, built from sines warped by other sines."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.grid = grid
        self.phase = [float(v) for v in rng.uniform(0, 2 * math.pi, 7)]
        self.scale = [float(v) for v in rng.uniform(0.7, 1.5, 6)]

    def field_at(self, t: float) -> Field:
        """Return the field at time `t`, in seconds."""
        x, y, phase, scale = self.grid.x, self.grid.y, self.phase, self.scale
        across = x + 0.35 * np.sin(1.7 * scale[0] * y + 0.7 * t + phase[0])
        across = across + 0.18 * np.sin(3.1 * scale[1] * y - 0.5 * t + phase[1])
        down = y + 0.30 * np.sin(2.1 * scale[2] * x - 0.6 * t + phase[2])
        down = down + 0.15 * np.cos(4.0 * scale[3] * across + 0.4 * t + phase[3])
        folds = np.sin(2.6 * scale[4] * across + 1.3 * np.sin(2.0 * down + 0.5 * t + phase[4]))
        folds += 0.60 * np.sin(4.2 * scale[5] * down + 1.1 * across - 0.8 * t + phase[5])
        folds += 0.35 * np.sin(4.2 * across + 5.6 * down + t + phase[6])
        return np.asarray(0.5 + 0.24 * folds - 0.10 * y, dtype=np.float32)


class Orbs:
    """Out-of-focus lights that drift upwards through haze."""

    COUNT = 11

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.grid = grid
        self.phase = [float(v) for v in rng.uniform(0, 2 * math.pi, 2)]
        reach = float(grid.x.max())
        self.orbs = [
            (
                rng.uniform(-1.05, 1.05) * reach,
                rng.uniform(-1.1, 1.1),
                rng.uniform(0.08, 0.34),
                rng.uniform(-0.09, 0.09),
                rng.uniform(-0.22, -0.03),
                rng.uniform(0.35, 1.0),
            )
            for _ in range(self.COUNT)
        ]

    def field_at(self, t: float) -> Field:
        """Return the field at time `t`, in seconds."""
        x, y = self.grid.x, self.grid.y
        haze = 0.22 + 0.06 * y + 0.07 * np.sin(2.2 * x + 1.6 * y + 0.5 * t + self.phase[0])
        field = haze + 0.05 * np.sin(3.3 * y - 2.0 * x - 0.4 * t + self.phase[1])
        for left, top, radius, drift, rise, glow in self.orbs:
            centre_x = left + drift * t + 0.05 * math.sin(0.8 * t + 9 * left)
            centre_y = (top + rise * t + 1.35) % 2.7 - 1.35
            distance = np.sqrt((x - centre_x) ** 2 + (y - centre_y) ** 2) * np.float32(1 / radius)
            disc = np.clip(1.12 - distance, 0, 0.12) * np.float32(2.4 * glow)
            # An out-of-focus lens renders a disc that is slightly brighter at its rim.
            field = field + disc * (0.74 + 0.26 * np.minimum(distance, 1))
            field = field + np.float32(0.11 * glow) / (1 + distance**3)
        return np.asarray(field, dtype=np.float32)


class Waves:
    """Mountain ridges under a low sun; nearer ridges move faster."""

    RIDGES = 5

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.grid = grid
        self.phase = float(rng.uniform(0, 2 * math.pi))
        self.sun = 0.40 * float(grid.x.max()) * math.sin(self.phase)
        self.outlines = [self._outline(rng, smooth=grid.width // (3 + ridge)) for ridge in range(self.RIDGES)]

    def _outline(self, rng: np.random.Generator, smooth: int) -> Field:
        walk = np.cumsum(rng.normal(0, 1, self.grid.width * 3))
        walk -= np.linspace(walk[0], walk[-1], walk.size)
        soft = np.convolve(walk, np.hanning(max(3, smooth)), "same")
        return np.asarray(soft / (np.abs(soft).max() + 1e-6), dtype=np.float32)

    def field_at(self, t: float) -> Field:
        """Return the field at time `t`, in seconds."""
        x, y = self.grid.x, self.grid.y
        distance = np.sqrt((x - self.sun) ** 2 + (y + 0.32 - 0.03 * t) ** 2)
        sky = 0.46 + 0.17 * (y + 1) + 0.17 * np.exp(-((distance / 0.50) ** 2))
        sky = sky + np.clip((0.19 - distance) * 45, 0, 1) * (0.34 + 0.06 * y)
        sky = sky + 0.022 * np.sin(9 * y + 3 * np.sin(1.5 * x + 0.4 * t) + self.phase)
        field = sky + 0.018 * np.sin(17 * y - 4 * np.sin(1.1 * x - 0.5 * t) + self.phase)
        for ridge, outline in enumerate(self.outlines):
            edge = -0.02 + 0.21 * ridge + (0.20 - 0.018 * ridge) * self._visible_outline(outline, ridge, t)
            edge = edge + 0.012 * np.sin(14 * x + 1.6 * t + ridge)
            inside = np.clip((y - edge) * 60, 0, 1)
            light = 0.60 - 0.125 * ridge + 0.07 * np.clip(1 - (y - edge) * 2.2, 0, 1)
            field = field * (1 - inside) + inside * light
        return np.asarray(field, dtype=np.float32)

    def _visible_outline(self, outline: Field, ridge: int, t: float) -> Field:
        """Return the visible part of an outline, interpolated between its points so that it moves smoothly."""
        width = self.grid.width
        offset = (t * (3 + 5 * ridge) + 40 * ridge) % width
        start, part = int(offset), np.float32(offset % 1)
        current, following = outline[start : start + width], outline[start + 1 : start + width + 1]
        return np.asarray(current * (1 - part) + following * part, dtype=np.float32)[None, :]


class Rays:
    """Slowly turning tunnel of light."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.phase = [float(v) for v in rng.uniform(0, 2 * math.pi, 2)]
        self.arms = int(rng.integers(4, 8))
        x, y = grid.x, grid.y + 0.15
        self.angle: Field = np.arctan2(y, x)
        self.distance: Field = np.sqrt(x * x + y * y) + np.float32(1e-3)

    def field_at(self, t: float) -> Field:
        """Return the field at time `t`, in seconds."""
        depth = 0.42 / self.distance + 0.55 * t
        arms = 0.5 + 0.5 * np.sin(self.angle * self.arms + 2.2 * np.sin(1.6 * depth + self.phase[0]) + 0.3 * t)
        rings = 0.5 + 0.5 * np.sin(2 * math.pi * depth + 1.5 * np.sin(3 * self.angle + self.phase[1]))
        glow = 0.55 * np.exp(-((self.distance / 0.26) ** 2))
        lit = 0.62 * arms * rings * np.clip(1.7 * self.distance, 0, 1)
        return np.asarray(0.10 + lit + glow + 0.10 * rings, dtype=np.float32)


_SCENE_TYPES: dict[str, Callable[[Grid, np.random.Generator], Scene]] = {
    "silk": Silk,
    "orbs": Orbs,
    "waves": Waves,
    "rays": Rays,
}


def create_scene(name: str, grid: Grid, rng: np.random.Generator) -> Scene:
    """Return the scene of that name; the random generator chooses its details."""
    return _SCENE_TYPES[name](grid, rng)
