"""Soundtrack: the noise of rain, surf, fire, wind, a city or a room, shaped from random numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
FADE_SECONDS = 0.12
PEAK = 0.9

Samples = NDArray[Any]
#: Level in dB at frequencies in Hz.
Curve = tuple[tuple[float, float], ...]

RAIN: Curve = ((20, -34), (120, -16), (500, -5), (1800, 0), (6000, -3), (11000, -9), (20000, -26))
SPLASH: Curve = ((20, -60), (700, -20), (2200, 0), (7000, -4), (20000, -22))
SURF: Curve = ((20, -22), (90, -5), (300, 0), (1200, -7), (4000, -16), (20000, -40))
HISS: Curve = ((20, -60), (400, -22), (1800, -3), (5000, 0), (9000, -8), (20000, -24))
WIND: Curve = ((20, -30), (80, -10), (220, 0), (600, -8), (1500, -22), (6000, -38), (20000, -60))
GUST: Curve = ((20, -50), (250, -16), (700, 0), (1400, -8), (4000, -26), (20000, -50))
LEAVES: Curve = ((20, -50), (500, -16), (2500, 0), (6000, -4), (12000, -16), (20000, -34))
RUMBLE: Curve = ((20, -20), (60, 0), (160, -4), (500, -18), (2000, -34), (20000, -60))
ROOM: Curve = ((20, -24), (70, -4), (200, 0), (800, -8), (3000, -18), (20000, -40))


def synthesize_soundtrack(scene: str, rng: np.random.Generator, seconds: float) -> Samples:
    """Return stereo samples of the sound of a scene, of shape (2, seconds * SAMPLE_RATE), faded in and out."""
    count = round(seconds * SAMPLE_RATE)
    t = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
    make, level = _SOUNDS.get(scene, (_make_room, 0.07))
    sound = make(rng, t)
    # Both channels are equally loud.
    sound *= level / (np.sqrt((sound**2).mean(axis=1, keepdims=True)) + 1e-9)
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


def _make_rain(rng: np.random.Generator, t: Samples) -> Samples:
    steady = _noise(rng, t.size, RAIN) * (1 + 0.12 * _sway(rng, t)) + 0.22 * _noise(rng, t.size, RUMBLE)
    return np.asarray(steady + 0.5 * _hits(rng, t, 45, 0.012, SPLASH) + 0.9 * _hits(rng, t, 5, 0.030, SPLASH))


def _make_surf(rng: np.random.Generator, t: Samples) -> Samples:
    period = rng.uniform(5.5, 7.5)
    part = ((t / period + rng.uniform(0, 1)) % 1).astype(np.float32)
    swell = np.sin(np.pi * part**0.6) ** 2
    wash = np.sin(np.pi * np.clip(part * 1.25 - 0.25, 0, 1) ** 0.8) ** 2
    sound = _noise(rng, t.size, SURF) * (0.35 + 0.9 * swell) + _noise(rng, t.size, HISS) * (0.06 + 0.55 * wash)
    return np.asarray(sound)


def _make_fire(rng: np.random.Generator, t: Samples) -> Samples:
    roar = _noise(rng, t.size, RUMBLE) * (0.8 + 0.25 * _sway(rng, t, 1.7)) + 0.25 * _noise(rng, t.size, LEAVES)
    return 0.55 * roar + 1.1 * _hits(rng, t, 22, 0.006, HISS) + 1.6 * _hits(rng, t, 2.5, 0.020, SPLASH)


def _make_wind(rng: np.random.Generator, t: Samples) -> Samples:
    gust = np.clip(0.5 + 0.6 * _sway(rng, t, 6), 0.05, 1.2)
    return _noise(rng, t.size, WIND) * (0.5 + 0.5 * gust) + _noise(rng, t.size, GUST) * 0.5 * gust**2


def _make_forest(rng: np.random.Generator, t: Samples) -> Samples:
    rustle = np.clip(0.5 + 0.5 * _sway(rng, t, 4), 0.08, 1.2)
    return 0.6 * _noise(rng, t.size, WIND) * (0.7 + 0.3 * rustle) + 0.7 * _noise(rng, t.size, LEAVES) * rustle


def _make_night(rng: np.random.Generator, t: Samples) -> Samples:
    """Crickets over a soft wind."""
    sound = 0.7 * _noise(rng, t.size, ROOM) + 0.18 * _noise(rng, t.size, LEAVES)
    for pan in (0.25, 0.5, 0.75):
        pitch, rate, start = rng.uniform(3900, 4900), rng.uniform(1.3, 2.2), rng.uniform(0, 1)
        pulses = np.clip(np.sin(2 * np.pi * rate * 16 * t), 0, 1) ** 2
        chirp = np.sin(2 * np.pi * pitch * t) * pulses * (((t * rate + start) % 1) < 0.36)
        sound += np.stack([chirp * (1 - pan), chirp * pan]).astype(np.float32) * np.float32(0.55)
    return sound


def _make_city(rng: np.random.Generator, t: Samples) -> Samples:
    passing = np.clip(_sway(rng, t, 4.5), 0, 1)
    return _noise(rng, t.size, RUMBLE) * (0.9 + 0.3 * passing) + _noise(rng, t.size, SURF) * (0.28 + 0.5 * passing**2)


def _make_water(rng: np.random.Generator, t: Samples) -> Samples:
    """Water heard from below its surface."""
    return _noise(rng, t.size, RUMBLE) * (1 + 0.25 * _sway(rng, t, 4)) + 0.5 * _hits(rng, t, 7, 0.06, GUST)


def _make_room(rng: np.random.Generator, t: Samples) -> Samples:
    return _noise(rng, t.size, ROOM) * (1 + 0.06 * _sway(rng, t))


_SOUNDS: dict[str, tuple[Callable[[np.random.Generator, Samples], Samples], float]] = {
    "rain": (_make_rain, 0.15),
    "sea": (_make_surf, 0.15),
    "fire": (_make_fire, 0.12),
    "snow": (_make_wind, 0.09),
    "desert": (_make_wind, 0.13),
    "clouds": (_make_wind, 0.12),
    "forest": (_make_forest, 0.10),
    "stars": (_make_night, 0.09),
    "city": (_make_city, 0.13),
    "underwater": (_make_water, 0.14),
}
