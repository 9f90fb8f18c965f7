"""Soundtrack: a soft chord of varying loudness with slow plucked notes over it."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
CHORDS = ((0, 7, 12, 16, 19), (0, 7, 12, 15, 22), (0, 5, 12, 16, 21), (0, 7, 14, 16, 23))
PENTATONIC = (0, 2, 4, 7, 9)
TARGET_RMS = 0.12

Samples = NDArray[np.float32]


def synthesize_soundtrack(rng: np.random.Generator, seconds: float) -> Samples:
    """Return stereo samples of shape (2, seconds * SAMPLE_RATE), faded in and out."""
    t: Samples = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / np.float32(SAMPLE_RATE)
    root = 110 * 2 ** (float(rng.integers(0, 12)) / 12)
    out = np.zeros((2, t.size), np.float32)
    for voice, semitones in enumerate(CHORDS[int(rng.integers(len(CHORDS)))]):
        _add_chord_voice(out, t, root * 2 ** (semitones / 12), voice, rng)
    for beat in range(int(seconds * 2)):
        note = PENTATONIC[int(rng.integers(len(PENTATONIC)))]
        _add_plucked_note(
            out[:, beat * SAMPLE_RATE // 2 :], t, root * 4 * 2 ** (note / 12), float(rng.uniform(0.2, 0.8))
        )
    out *= np.clip(np.minimum(t / 0.25, (seconds - t) / 0.35), 0, 1)
    rms = float(np.sqrt((out**2).mean()))
    return np.ascontiguousarray(out * (TARGET_RMS / (rms + 1e-6)), dtype=np.float32)


def _add_chord_voice(out: Samples, t: Samples, pitch: float, voice: int, rng: np.random.Generator) -> None:
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * (0.11 + 0.07 * voice) * t + rng.uniform(0, 6))
    angle = 2 * np.pi * pitch * t
    # Two tones of nearly the same pitch beat against each other, which gives a warm sound.
    tone = np.sin(angle) + 0.5 * np.sin(1.0035 * angle + 1) + 0.18 * np.sin(2 * angle)
    tone *= envelope / (1.6 + 0.5 * voice)
    pan = rng.uniform(0.25, 0.75)
    out[0] += tone * (1 - pan)
    out[1] += tone * pan


def _add_plucked_note(out: Samples, t: Samples, pitch: float, pan: float) -> None:
    t = t[: min(SAMPLE_RATE, out.shape[1])]
    tone = 0.5 * np.sin(2 * np.pi * pitch * t) * np.exp(-6 * t)
    out[0, : t.size] += tone * pan
    out[1, : t.size] += tone * (1 - pan)
