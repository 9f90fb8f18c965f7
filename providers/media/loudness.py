"""How loud a sound is, and how to make it as loud as wanted (ITU-R BS.1770-4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]  # shape (2, samples): left and right, full scale is 1.0

RATE = 48_000
#: Below this a sound counts as silence: it is neither amplified nor judged.
SILENT_LUFS = -60.0

_FLOOR = -120.0
_SPAN = 1 << 18  # samples transformed at once, so that memory does not grow with the film
_SETTLE = RATE // 2  # after half a second the weighting filter has forgotten what was before
_LOOK_AHEAD = RATE // 100


def integrated_lufs(sound: Sound) -> float:
    """The gated loudness of a whole 48 kHz stereo sound in LUFS; -120 for silence."""
    size, step = RATE * 2 // 5, RATE // 10
    energy = np.concatenate([np.square(block).sum(axis=0) for block in _k_weighted(sound)] or [np.zeros(0)])
    if energy.size < size:
        energy = np.pad(energy, (0, size - energy.size))
    total = np.concatenate([[0.0], np.cumsum(energy)])
    starts = np.arange(0, energy.size - size + 1, step)
    power = np.maximum((total[starts + size] - total[starts]) / size, 0.0)
    heard = power[power > _power(-70.0)]
    if not heard.size:
        return _FLOOR
    return _lufs(float(heard[heard > heard.mean() / 10].mean()))


def true_peak_dbtp(sound: Sound) -> float:
    """The highest peak between the samples, in dB of full scale, four times oversampled; -120 for silence."""
    return float(20 * np.log10(max(float(_peaks(sound).max(initial=0.0)), 1e-6)))


def normalised(sound: Sound, *, lufs: float, ceiling_dbtp: float) -> Sound:
    """The sound at `lufs`, its true peak at most `ceiling_dbtp`; silence stays as it is.

    One gain for all where the peaks allow it. Where they do not, the peaks alone are turned down.
    """
    before = integrated_lufs(sound)
    if before <= SILENT_LUFS:
        return sound
    ceiling = 10 ** (ceiling_dbtp / 20)
    peaks = _peaks(sound)
    gain_db = lufs - before
    for _ in range(12):
        gain = np.float32(10 ** (gain_db / 20))
        if float(peaks.max()) * gain <= ceiling:
            return (sound * gain).astype(np.float32)
        louder = (sound * (gain * _limit(peaks * gain, ceiling))).astype(np.float32)
        missing = lufs - integrated_lufs(louder)
        if abs(missing) < 0.1:
            break
        gain_db += missing
    return louder


def _limit(peaks: NDArray[np.float32], ceiling: float) -> NDArray[np.float32]:
    """Per sample, a gain that keeps `peaks` below the ceiling and moves slowly enough not to be heard.

    The lowest gain needed within the look-ahead, then averaged over the same span: never above what any
    sample needs, and without a corner.
    """
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9)).astype(np.float32)
    lowest = _sliding_minimum(needed, 2 * _LOOK_AHEAD + 1)
    padded = np.pad(lowest.astype(np.float64), _LOOK_AHEAD, mode="edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    width = 2 * _LOOK_AHEAD + 1
    gains: NDArray[np.float32] = ((total[width:] - total[:-width]) / width).astype(np.float32)
    return gains


def _sliding_minimum(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The minimum within `width` (odd) around each value, by doubling spans."""
    half = width // 2
    result = np.pad(values, half, constant_values=1.0)
    span = 1
    while span < width:
        step = min(span, width - span)
        result = np.minimum(result[:-step], result[step:])
        span += step
    return result


def _k_weighted(sound: Sound) -> Iterator[NDArray[np.float64]]:
    """The sound as loud as the ear hears it, block by block (the standard's two filters at 48 kHz)."""
    block = _SPAN - 2 * _SETTLE
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(_SPAN))
    head = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    ear = head * (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    for start in range(0, sound.shape[1], block):
        before = min(start, _SETTLE)
        part = sound[:, start - before : start + block]
        yield np.fft.irfft(np.fft.rfft(part, _SPAN) * ear, _SPAN)[:, before : part.shape[1]]


def _peaks(sound: Sound) -> NDArray[np.float32]:
    """Per sample, the highest value of either channel up to the next sample, four times oversampled."""
    peaks = np.zeros(sound.shape[1], np.float32)
    margin = 512
    for start in range(0, sound.shape[1], _SPAN - 2 * margin):
        before = min(start, margin)
        part = sound[:, start - before : start + _SPAN - margin]
        spectrum = np.fft.rfft(part, _SPAN)
        fine = np.abs(np.fft.irfft(spectrum, 4 * _SPAN)).max(axis=0) * 4
        highest = fine.reshape(_SPAN, 4).max(axis=1)[before : part.shape[1]]
        keep = min(highest.size, _SPAN - 2 * margin)
        peaks[start : start + keep] = highest[:keep]
    return peaks


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _lufs(power: float) -> float:
    return float(-0.691 + 10 * np.log10(max(power, 1e-12)))
