"""Measure and normalise the loudness of audio (ITU-R BS.1770-4)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

AudioSamples = NDArray[np.float32]  # shape (2, samples): left and right at 48 kHz, full scale is 1.0

SAMPLE_RATE = 48_000
#: Audio at or below this loudness counts as silence: it is neither amplified nor judged.
SILENCE_LUFS = -60.0
#: Audio just above silence gets this gain to be as loud as a film; more would only amplify what is no sound.
MAX_GAIN_DB = 46.0

_FLOOR_LUFS = -120.0
_FFT_SAMPLES = 1 << 18  # samples transformed at once, so that memory does not grow with the length of the film
_FILTER_SETTLE_SAMPLES = SAMPLE_RATE // 2  # the impulse response of the weighting filter is negligible after this
_LOOKAHEAD_SAMPLES = SAMPLE_RATE // 100
_SUBSONIC_HZ = 18.0  # attenuated by 3 dB at 20 Hz and by 15 dB at 15 Hz


def measure_loudness(audio: AudioSamples) -> float:
    """Return the gated integrated loudness in LUFS of 48 kHz stereo audio; -120 for silence."""
    size, step = SAMPLE_RATE * 2 // 5, SAMPLE_RATE // 10
    energy = np.concatenate([np.zeros(0), *(np.square(block).sum(axis=0) for block in _apply_k_weighting(audio))])
    energy = np.pad(energy, (0, max(0, size - energy.size)))
    power = np.maximum(_moving_average(energy, size)[::step], 0.0)
    above_gate = power[power > 10 ** ((-70.0 + 0.691) / 10)]
    if not above_gate.size:
        return _FLOOR_LUFS
    return float(-0.691 + 10 * np.log10(above_gate[above_gate > above_gate.mean() / 10].mean()))


def measure_true_peak(audio: AudioSamples) -> float:
    """Return the true peak in dBTP, with four times oversampling; -120 for silence."""
    return float(20 * np.log10(max(float(_oversampled_peaks(audio).max(initial=0.0)), 1e-6)))


def remove_subsonic(audio: AudioSamples) -> AudioSamples:
    """Return the audio without a constant offset and what is below about 20 Hz: inaudible, and it takes headroom."""
    margin = _FILTER_SETTLE_SAMPLES
    # A reflected margin at both ends: silence there would turn an offset into a click.
    padded = np.pad(audio, ((0, 0), (margin, margin)), "reflect", reflect_type="odd")
    response = 1 / (1 + (_SUBSONIC_HZ / np.maximum(np.fft.rfftfreq(_FFT_SAMPLES, 1 / SAMPLE_RATE), 1e-3)) ** 8)
    blocks = [
        np.fft.irfft(spectrum * response, _FFT_SAMPLES)[:, block]
        for spectrum, block in _transform_blocks(padded, margin=margin, after=margin)
    ]
    return np.concatenate(blocks, axis=1)[:, margin:-margin].astype(np.float32)


def normalise_loudness(audio: AudioSamples, *, lufs: float, ceiling_dbtp: float) -> AudioSamples:
    """Return the audio at this loudness with a true peak of at most `ceiling_dbtp`; silence is returned unchanged.

    A constant gain is applied if the peaks allow it. If they do not, a limiter also attenuates the peaks; the loudness
    of a few clicks cannot be reached then.
    """
    before = measure_loudness(audio)
    if before <= SILENCE_LUFS:
        return audio
    ceiling = 10 ** (ceiling_dbtp / 20)
    peaks = _oversampled_peaks(audio)
    gain_db = min(lufs - before, MAX_GAIN_DB)
    for _ in range(12):
        gain = np.float32(10 ** (gain_db / 20))
        if float(peaks.max()) * gain <= ceiling:
            return (audio * gain).astype(np.float32)
        limited = (audio * (gain * _limiter_gains(peaks * gain, ceiling))).astype(np.float32)
        missing_db = lufs - measure_loudness(limited)
        if abs(missing_db) < 0.1 or (gain_db == MAX_GAIN_DB and missing_db > 0):
            break
        gain_db = min(gain_db + missing_db, MAX_GAIN_DB)
    return limited


def _limiter_gains(peaks: NDArray[np.float32], ceiling: float) -> NDArray[np.float32]:
    """Return a gain per sample that keeps `peaks` below the ceiling and changes too slowly to be audible.

    It is the lowest gain needed within the look-ahead, averaged over the same window: never above the gain
    that any sample needs, and smooth.
    """
    width = 2 * _LOOKAHEAD_SAMPLES + 1
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9)).astype(np.float32)
    lowest = np.pad(_sliding_minimum(needed, width).astype(np.float64), _LOOKAHEAD_SAMPLES, mode="edge")
    gains: NDArray[np.float32] = _moving_average(lowest, width).astype(np.float32)
    return gains


def _moving_average(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the average of every `width` consecutive values."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    averages: NDArray[np.float64] = (total[width:] - total[:-width]) / width
    return averages


def _sliding_minimum(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return the minimum within `width` (odd) around each value, by doubling windows."""
    half = width // 2
    result = np.pad(values, half, constant_values=1.0)
    window = 1
    while window < width:
        step = min(window, width - window)
        result = np.minimum(result[:-step], result[step:])
        window += step
    return result


def _apply_k_weighting(audio: AudioSamples) -> Iterator[NDArray[np.float64]]:
    """Yield the audio block by block, filtered by the two K-weighting filters of the standard at 48 kHz."""
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(_FFT_SAMPLES))
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    response = shelf * (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    # No samples after the block: the zeros in their place keep the end of the response out of its start.
    for spectrum, block in _transform_blocks(audio, margin=_FILTER_SETTLE_SAMPLES, after=0):
        yield np.fft.irfft(spectrum * response, _FFT_SAMPLES)[:, block]


def _oversampled_peaks(audio: AudioSamples) -> NDArray[np.float32]:
    """Return per sample the highest value of both channels up to the next sample, with four times oversampling."""
    peaks = [np.zeros(0, np.float32)]
    for spectrum, block in _transform_blocks(audio, margin=512, after=512):
        oversampled = np.abs(np.fft.irfft(spectrum, 4 * _FFT_SAMPLES)).max(axis=0) * 4
        peaks.append(oversampled.reshape(_FFT_SAMPLES, 4).max(axis=1)[block])
    return np.concatenate(peaks)


def _transform_blocks(
    audio: AudioSamples, *, margin: int, after: int
) -> Iterator[tuple[NDArray[np.complex128], slice]]:
    """Yield the spectra of overlapping parts of the audio, and the slice of each part that belongs to its block.

    A part has up to `margin` samples before its block and `after` samples, at most `margin`, after it.
    """
    size = _FFT_SAMPLES - 2 * margin
    for start in range(0, audio.shape[1], size):
        before = min(start, margin)
        part = audio[:, start - before : start + size + after]
        yield np.fft.rfft(part, _FFT_SAMPLES), slice(before, before + min(size, audio.shape[1] - start))
