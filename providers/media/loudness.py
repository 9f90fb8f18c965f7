"""Measure and normalise the loudness of audio (ITU-R BS.1770-4) with the filters of FFmpeg."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph
from numpy.typing import NDArray

AudioSamples = NDArray[np.float32]  # shape (2, samples): left and right at 48 kHz, full scale is 1.0

SAMPLE_RATE = 48_000
#: Audio at or below this loudness counts as silence: it is neither amplified nor judged.
SILENCE_LUFS = -60.0
#: Audio just above silence gets this gain to be as loud as a film; more would only amplify what is no sound.
MAX_GAIN_DB = 46.0

#: The meter needs the first of these, and then takes as many as the second at a time.
_WINDOW_SAMPLES, _STEP_SAMPLES = SAMPLE_RATE * 2 // 5, SAMPLE_RATE // 10
_SETTLE_SAMPLES = SAMPLE_RATE // 2  # what the subsonic filter does with a constant offset has faded out after this


def measure_loudness(audio: AudioSamples) -> float:
    """Return the gated integrated loudness in LUFS of 48 kHz stereo audio; at most -70 for silence."""
    return _measure(audio, "I")


def measure_true_peak(audio: AudioSamples) -> float:
    """Return the true peak in dBTP, with four times oversampling; -120 for silence."""
    return float(20 * np.log10(max(_measure(audio, "true_peak", "peak=true"), 1e-6)))


def remove_subsonic(audio: AudioSamples) -> AudioSamples:
    """Return the audio without a constant offset and what is below about 20 Hz: inaudible, and it takes headroom."""
    # A reflected start: silence there would turn an offset into a click.
    padded = np.pad(audio, ((0, 0), (_SETTLE_SAMPLES, 0)), "reflect", reflect_type="odd")
    return _filter(padded, "asubcut=cutoff=18:order=8")[:, _SETTLE_SAMPLES:]


def normalise_loudness(audio: AudioSamples, *, lufs: float, ceiling_dbtp: float) -> AudioSamples:
    """Return the audio at this loudness with a true peak near `ceiling_dbtp` at most; silence is returned unchanged.

    A constant gain is applied if the peaks allow it. If they do not, a limiter also attenuates the peaks; the loudness
    of a few clicks cannot be reached then.
    """
    before = measure_loudness(audio)
    if before <= SILENCE_LUFS:
        return audio
    peak_dbtp, limit = measure_true_peak(audio), 10 ** (ceiling_dbtp / 20)
    limiter = f"alimiter=limit={limit:.6f}:attack=10:release=10:level=false:latency=true"
    gain_db = min(lufs - before, MAX_GAIN_DB)
    for _ in range(12):
        louder = audio * np.float32(10 ** (gain_db / 20))
        if peak_dbtp + gain_db <= ceiling_dbtp:
            return louder
        limited = _filter(louder, f"aresample={4 * SAMPLE_RATE}", limiter, f"aresample={SAMPLE_RATE}")
        missing_db = lufs - measure_loudness(limited)
        if abs(missing_db) < 0.1 or (gain_db == MAX_GAIN_DB and missing_db > 0):
            break
        gain_db = min(gain_db + missing_db, MAX_GAIN_DB)
    return limited


def _measure(audio: AudioSamples, name: str, options: str = "peak=none") -> float:
    """Return a measured value of FFmpeg's meter."""
    missing = max(_WINDOW_SAMPLES - audio.shape[1], -audio.shape[1] % _STEP_SAMPLES)
    padded = np.pad(audio, ((0, 0), (0, missing)))
    *_, last = (frame.metadata for frame in _filter_frames(padded, f"ebur128=metadata=1:framelog=quiet:{options}"))
    return float(last[f"lavfi.r128.{name}"])


def _filter(audio: AudioSamples, *filters: str) -> AudioSamples:
    return np.concatenate([frame.to_ndarray() for frame in _filter_frames(audio, *filters, "aformat=fltp")], axis=1)


def _filter_frames(audio: AudioSamples, *filters: str) -> Iterator[AudioFrame]:
    """Yield the audio after these filters. It is passed on second by second, so that memory does not grow with it."""
    graph, tick = Graph(), Fraction(1, SAMPLE_RATE)
    nodes = [graph.add_abuffer(sample_rate=SAMPLE_RATE, format="fltp", layout="stereo", time_base=tick)]
    nodes += [graph.add(*each.split("=", 1)) for each in (*filters, "abuffersink")]
    graph.link_nodes(*nodes).configure()
    for start in [*range(0, audio.shape[1], SAMPLE_RATE), None]:
        graph.push(None if start is None else to_frame(audio[:, start : start + SAMPLE_RATE], start))
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                yield graph.pull()  # type: ignore[misc]


def to_frame(audio: AudioSamples, start: int = 0) -> AudioFrame:
    """Return the samples as a frame that starts at the sample with this number."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
    return frame
