"""Palettes: the mood words of a prompt choose a family of colours and the scene that suits it."""

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STEPS = 1024

Palette = NDArray[np.uint8]


class Mood(NamedTuple):
    """Where in OKLCH a palette sits: hue and spread in degrees, lightness and chroma, and its scene."""

    hue: float
    spread: float
    lightness: float
    chroma: float
    scene: str | None


MOODS = {
    "sunset": Mood(25, 70, 0.62, 0.16, "waves"),
    "dawn": Mood(20, 60, 0.68, 0.13, "waves"),
    "fire": Mood(35, 50, 0.58, 0.19, "silk"),
    "ember": Mood(30, 45, 0.52, 0.18, "orbs"),
    "lava": Mood(30, 45, 0.55, 0.19, "silk"),
    "molten": Mood(40, 50, 0.58, 0.17, "silk"),
    "ocean": Mood(220, 60, 0.55, 0.13, "waves"),
    "sea": Mood(215, 60, 0.55, 0.13, "waves"),
    "harbour": Mood(225, 70, 0.50, 0.12, "waves"),
    "water": Mood(225, 55, 0.58, 0.12, "silk"),
    "rain": Mood(240, 70, 0.48, 0.10, "orbs"),
    "storm": Mood(255, 60, 0.44, 0.11, "silk"),
    "forest": Mood(145, 55, 0.52, 0.13, "waves"),
    "jungle": Mood(140, 60, 0.50, 0.14, "waves"),
    "moss": Mood(135, 45, 0.52, 0.12, "silk"),
    "city": Mood(290, 110, 0.50, 0.17, "rays"),
    "neon": Mood(320, 140, 0.60, 0.22, "rays"),
    "night": Mood(265, 60, 0.40, 0.13, "orbs"),
    "space": Mood(285, 90, 0.42, 0.16, "orbs"),
    "star": Mood(275, 80, 0.45, 0.14, "orbs"),
    "snow": Mood(235, 40, 0.80, 0.06, "waves"),
    "ice": Mood(215, 40, 0.78, 0.08, "silk"),
    "desert": Mood(65, 40, 0.68, 0.11, "waves"),
    "sand": Mood(70, 35, 0.70, 0.10, "waves"),
    "candle": Mood(60, 30, 0.52, 0.13, "orbs"),
    "coffee": Mood(55, 30, 0.50, 0.09, "silk"),
    "bread": Mood(70, 35, 0.64, 0.11, "silk"),
    "cat": Mood(55, 60, 0.62, 0.10, "orbs"),
    "gold": Mood(85, 30, 0.68, 0.14, "silk"),
    "glass": Mood(195, 60, 0.66, 0.09, "silk"),
    "velvet": Mood(350, 50, 0.46, 0.14, "silk"),
    "marble": Mood(250, 50, 0.74, 0.05, "silk"),
    "honey": Mood(75, 30, 0.66, 0.14, "silk"),
    "bronze": Mood(60, 40, 0.55, 0.11, "rays"),
    "pearl": Mood(330, 70, 0.80, 0.06, "orbs"),
    "amber": Mood(65, 35, 0.62, 0.14, "orbs"),
    "quartz": Mood(310, 60, 0.62, 0.09, "rays"),
    "porcelain": Mood(245, 40, 0.80, 0.06, "silk"),
    "mirror": Mood(205, 90, 0.60, 0.10, "rays"),
    "rose": Mood(5, 50, 0.66, 0.14, "silk"),
}

#: How often a mood gets the scene that suits it best.
OWN_SCENE = 0.5
SCENES = ("silk", "orbs", "waves", "rays")


def mood_of(prompt: str) -> Mood | None:
    """The mood whose word comes first in the prompt, so that a clip looks like its own first sentence."""
    for word in re.findall(r"[a-z]+", prompt.lower()):
        for name in (word, word.removesuffix("s"), word.removesuffix("y")):
            if name in MOODS:
                return MOODS[name]
    return None


def palette(prompt: str, rng: np.random.Generator) -> tuple[Palette, str]:
    """A smooth ramp of STEPS colours from dark to light, and the name of the scene to paint with it."""
    mood = mood_of(prompt) or Mood(
        rng.uniform(0, 360), rng.uniform(50, 130), rng.uniform(0.52, 0.66), rng.uniform(0.11, 0.18), None
    )
    # The clips of one film share their mood words: were the scene theirs alone, they would look the same.
    any_scene = SCENES[int(rng.integers(len(SCENES)))]
    scene = mood.scene if mood.scene and rng.random() < OWN_SCENE else any_scene
    hue = mood.hue + rng.uniform(-24, 24)
    swing = mood.spread * float(rng.choice((-1, 1)))
    lightness, chroma = mood.lightness, mood.chroma
    stops = np.array(
        [
            _oklch(0.13, chroma * 0.45, hue - swing * 0.50),
            _oklch(lightness * 0.60, chroma * 0.85, hue - swing * 0.25),
            _oklch(lightness, chroma, hue),
            _oklch(min(0.90, lightness + 0.18), chroma * 0.80, hue + swing * 0.45),
            _oklch(0.965, chroma * 0.22, hue + swing * 0.70),
        ]
    )
    place = np.linspace(0, len(stops) - 1, STEPS)
    below = np.minimum(place.astype(int), len(stops) - 2)
    part = (place - below)[:, None]
    part = part * part * (3 - 2 * part)
    ramp = stops[below] * (1 - part) + stops[below + 1] * part
    return np.clip(ramp, 0, 255).astype(np.uint8), scene


def _oklch(lightness: float, chroma: float, hue: float) -> list[float]:
    """One OKLCH colour as sRGB 0..255; the numbers are those of Björn Ottosson's definition."""
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
