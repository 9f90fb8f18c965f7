"""Small particles of light that drift through a picture and twinkle."""

import math

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
Sprite = NDArray[np.float64]

MAX_LUMA = 235


class Particles:
    """Drifting particles, drawn into the luma plane of a frame."""

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.width, self.height = width, height
        count = max(12, round(70 * width * height / (720 * 1280)))
        unit = min(width, height) / 720
        self.particles = [
            (
                rng.uniform(0, width),
                rng.uniform(0, height),
                rng.uniform(-42, 42) * unit,
                rng.uniform(-138, -24) * unit,
                _sprite(math.ceil(rng.uniform(2.2, 7.5) * unit)),
                rng.uniform(0, 2 * math.pi),
                rng.uniform(40, 150),
            )
            for _ in range(count)
        ]

    def draw(self, plane: Plane, t: float) -> None:
        """Draw the particles at time `t`, in seconds, into the plane."""
        for left, top, drift, rise, sprite, phase, glow in self.particles:
            radius = sprite.shape[0] // 2
            x = int(left + drift * t + 9 * math.sin(1.3 * t + phase)) % self.width
            y = int(top + rise * t) % self.height
            if radius <= x < self.width - radius and radius <= y < self.height - radius:
                spot = plane[y - radius : y + radius + 1, x - radius : x + radius + 1]
                twinkle = glow * (0.55 + 0.45 * math.sin(3 * t + phase))
                spot[...] = np.minimum(MAX_LUMA, spot + sprite * twinkle).astype(np.uint8)


def _sprite(radius: int) -> Sprite:
    reach = np.arange(-radius, radius + 1)
    distance = np.sqrt(reach[None, :] ** 2 + reach[:, None] ** 2)
    return np.asarray(np.clip(1 - distance / radius, 0, 1) ** 1.4)
