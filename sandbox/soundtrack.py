"""Soundtrack: the noise of rain, surf, fire, wind, a city or a room, as scenes.toml describes it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.text import read_table

SAMPLE_RATE = 48_000
FADE_SECONDS = 0.12
PEAK = 0.9

Samples = NDArray[Any]
#: Level in dB at frequencies in Hz.
Curve = Sequence[Sequence[float]]

_LISTS = read_table("scenes")
_CURVES: dict[str, Curve] = _LISTS["noises"]


def synthesize_soundtrack(scene: str, rng: np.random.Generator, seconds: float) -> Samples:
    """Return stereo samples of the sound of a scene, of shape (2, seconds * SAMPLE_RATE), faded in and out."""
    count = round(seconds * SAMPLE_RATE)
    t = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
    recipe, sound = _LISTS["sounds"].get(scene, _LISTS["sounds"]["room"]), np.zeros((2, count), np.float32)
    for name, loudness, depth, period in recipe["steady"]:
        sound += loudness * _noise(rng, count, _CURVES[name]) * np.clip(1 + depth * _sway(rng, t, period), 0.05, 3)
    for name, loudness, per_second, length in recipe.get("hits", []):
        sound += loudness * _hits(rng, t, per_second, length, _CURVES[name])
    # Both channels are equally loud.
    sound *= recipe["level"] / (np.sqrt((sound**2).mean(axis=1, keepdims=True)) + 1e-9)
    sound = PEAK * np.tanh(sound / PEAK)
    fade = np.clip(np.minimum(t, seconds - t) / np.float32(FADE_SECONDS), 0, 1)
    return np.ascontiguousarray(sound * np.sin(0.5 * np.pi * fade) ** 2, dtype=np.float32)


def _noise(rng: np.random.Generator, count: int, curve: Curve, width: float = 0.75) -> Samples:
    """Return stereo noise with this spectrum; a `width` of 1 makes the channels independent, 0 equal."""
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    at, levels = np.log([point[0] for point in curve]), [point[1] for point in curve]
    gain = 10 ** (np.interp(np.log(np.maximum(frequencies, 1)), at, levels) / 20) * (frequencies > 15)
    middle, left, right = (np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * gain, count) for _ in range(3))
    sound = np.stack([left, right]) * width + middle * (1 - width)
    return np.asarray(sound / (sound.std() + 1e-12), np.float32)


def _sway(rng: np.random.Generator, t: Samples, slowest: float = 5.0) -> Samples:
    """Return a slow random curve of about -1..1."""
    waves = [np.sin(2 * np.pi * t * rate / slowest + rng.uniform(0, 6.28)) / rate**0.5 for rate in (1, 1.7, 2.9)]
    return np.asarray(sum(waves) / 1.6, np.float32)


def _hits(rng: np.random.Generator, t: Samples, per_second: float, length: float, curve: Curve) -> Samples:
    """Return short bursts of noise at random times, places and loudness; `length` in seconds."""
    sound = np.zeros((2, t.size), np.float32)
    for _ in range(max(1, int(per_second * t.size / SAMPLE_RATE))):
        size = int(length * rng.uniform(0.4, 1.6) * SAMPLE_RATE)
        start, pan = int(rng.integers(0, max(1, t.size - size))), rng.uniform(0.2, 0.8)
        burst = _noise(rng, size, curve, 0.3) * np.exp(-np.linspace(0, 7, size)) * np.linspace(0, 1, size) ** 0.06
        part = sound[:, start : start + size]
        loudness = min(6.0, 0.35 + rng.pareto(2.2))
        part += (burst * loudness * np.array([[1 - pan], [pan]]))[:, : part.shape[1]].astype(np.float32)
    return sound
