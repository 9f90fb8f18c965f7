"""Tones, and the level of one frequency in a sound."""

from __future__ import annotations

import numpy as np

from providers.media.audio import SAMPLE_RATE

CLIP_HZ, MUSIC_HZ = 400, 1_500


def tone(hertz: float, seconds: float, amplitude: float = 0.2) -> np.ndarray:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.tile(amplitude * np.sin(2 * np.pi * hertz * times), (2, 1)).astype(np.float32)


def level(audio: np.ndarray, hertz: float, start: float, end: float) -> float:
    """Return the level in dB of one frequency between two times."""
    part = audio[0, round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    wave = np.exp(-2j * np.pi * hertz * np.arange(part.size) / SAMPLE_RATE)
    return float(20 * np.log10(max(2 * abs((part * wave).mean()), 1e-9)))
