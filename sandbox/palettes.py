"""Colour palettes: a palette name in the prompt selects the colours and the preferred scene."""

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STEPS = 1024

Palette = NDArray[np.uint8]


class PaletteSpec(NamedTuple):
    """Position of a palette in OKLCH (hue and spread in degrees, lightness and chroma) and its preferred scene."""

    hue: float
    spread: float
    lightness: float
    chroma: float
    scene: str | None


PALETTES = {
    "sunset": PaletteSpec(25, 70, 0.62, 0.16, "waves"),
    "dawn": PaletteSpec(20, 60, 0.68, 0.13, "waves"),
    "fire": PaletteSpec(35, 50, 0.58, 0.19, "silk"),
    "ember": PaletteSpec(30, 45, 0.52, 0.18, "orbs"),
    "lava": PaletteSpec(30, 45, 0.55, 0.19, "silk"),
    "molten": PaletteSpec(40, 50, 0.58, 0.17, "silk"),
    "ocean": PaletteSpec(220, 60, 0.55, 0.13, "waves"),
    "sea": PaletteSpec(215, 60, 0.55, 0.13, "waves"),
    "harbour": PaletteSpec(225, 70, 0.50, 0.12, "waves"),
    "water": PaletteSpec(225, 55, 0.58, 0.12, "silk"),
    "rain": PaletteSpec(240, 70, 0.48, 0.10, "orbs"),
    "storm": PaletteSpec(255, 60, 0.44, 0.11, "silk"),
    "forest": PaletteSpec(145, 55, 0.52, 0.13, "waves"),
    "jungle": PaletteSpec(140, 60, 0.50, 0.14, "waves"),
    "moss": PaletteSpec(135, 45, 0.52, 0.12, "silk"),
    "city": PaletteSpec(290, 110, 0.50, 0.17, "rays"),
    "neon": PaletteSpec(320, 140, 0.60, 0.22, "rays"),
    "night": PaletteSpec(265, 60, 0.40, 0.13, "orbs"),
    "space": PaletteSpec(285, 90, 0.42, 0.16, "orbs"),
    "star": PaletteSpec(275, 80, 0.45, 0.14, "orbs"),
    "snow": PaletteSpec(235, 40, 0.80, 0.06, "waves"),
    "ice": PaletteSpec(215, 40, 0.78, 0.08, "silk"),
    "desert": PaletteSpec(65, 40, 0.68, 0.11, "waves"),
    "sand": PaletteSpec(70, 35, 0.70, 0.10, "waves"),
    "candle": PaletteSpec(60, 30, 0.52, 0.13, "orbs"),
    "coffee": PaletteSpec(55, 30, 0.50, 0.09, "silk"),
    "bread": PaletteSpec(70, 35, 0.64, 0.11, "silk"),
    "cat": PaletteSpec(55, 60, 0.62, 0.10, "orbs"),
    "gold": PaletteSpec(85, 30, 0.68, 0.14, "silk"),
    "glass": PaletteSpec(195, 60, 0.66, 0.09, "silk"),
    "velvet": PaletteSpec(350, 50, 0.46, 0.14, "silk"),
    "marble": PaletteSpec(250, 50, 0.74, 0.05, "silk"),
    "honey": PaletteSpec(75, 30, 0.66, 0.14, "silk"),
    "bronze": PaletteSpec(60, 40, 0.55, 0.11, "rays"),
    "pearl": PaletteSpec(330, 70, 0.80, 0.06, "orbs"),
    "amber": PaletteSpec(65, 35, 0.62, 0.14, "orbs"),
    "quartz": PaletteSpec(310, 60, 0.62, 0.09, "rays"),
    "porcelain": PaletteSpec(245, 40, 0.80, 0.06, "silk"),
    "mirror": PaletteSpec(205, 90, 0.60, 0.10, "rays"),
    "rose": PaletteSpec(5, 50, 0.66, 0.14, "silk"),
}

#: Probability that a palette gets its preferred scene.
PREFERRED_SCENE_PROBABILITY = 0.5
SCENES = ("silk", "orbs", "waves", "rays")


def find_palette(prompt: str) -> PaletteSpec | None:
    """Return the palette named first in the prompt, so that a clip matches its first sentence, or None."""
    for word in re.findall(r"[a-z]+", prompt.lower()):
        for name in (word, word.removesuffix("s"), word.removesuffix("y")):
            if name in PALETTES:
                return PALETTES[name]
    return None


def build_palette(prompt: str, rng: np.random.Generator) -> tuple[Palette, str]:
    """Return a smooth ramp of STEPS RGB colours from dark to light, and the name of the scene to render with it."""
    spec = find_palette(prompt) or PaletteSpec(
        rng.uniform(0, 360), rng.uniform(50, 130), rng.uniform(0.52, 0.66), rng.uniform(0.11, 0.18), None
    )
    # The clips of a film often share a palette name; a random scene keeps them from looking alike.
    any_scene = SCENES[int(rng.integers(len(SCENES)))]
    scene = spec.scene if spec.scene and rng.random() < PREFERRED_SCENE_PROBABILITY else any_scene
    hue = spec.hue + rng.uniform(-24, 24)
    swing = spec.spread * float(rng.choice((-1, 1)))
    lightness, chroma = spec.lightness, spec.chroma
    stops = np.array(
        [
            _oklch(0.13, chroma * 0.45, hue - swing * 0.50),
            _oklch(lightness * 0.60, chroma * 0.85, hue - swing * 0.25),
            _oklch(lightness, chroma, hue),
            _oklch(min(0.90, lightness + 0.18), chroma * 0.80, hue + swing * 0.45),
            _oklch(0.965, chroma * 0.22, hue + swing * 0.70),
        ]
    )
    position = np.linspace(0, len(stops) - 1, STEPS)
    below = np.minimum(position.astype(int), len(stops) - 2)
    part = (position - below)[:, None]
    part = part * part * (3 - 2 * part)
    ramp = stops[below] * (1 - part) + stops[below + 1] * part
    return np.clip(ramp, 0, 255).astype(np.uint8), scene


def _oklch(lightness: float, chroma: float, hue: float) -> list[float]:
    """Convert an OKLCH colour to sRGB 0..255, with the constants of Björn Ottosson's definition."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    return [255 * _gamma(max(0.0, channel)) for channel in linear]


def _gamma(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
