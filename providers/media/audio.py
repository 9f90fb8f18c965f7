"""Audio as samples: decode it, measure and change its loudness (ITU-R BS.1770-4), encode it as AAC, and master it.

The measurements and filters are those of FFmpeg.
"""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext
from av.container.input import InputContainer
from av.filter import Graph
from av.packet import Packet
from numpy.typing import NDArray

from providers.media.probe import open_mp4, start_of, to_seconds

AudioSamples = NDArray[np.float32]  # shape (2, samples): left and right at 48 kHz, full scale is 1.0

SAMPLE_RATE = 48_000
#: Audio at or below this loudness counts as silence: it is neither amplified nor judged.
SILENCE_LUFS = -60.0
#: Audio just above silence gets this gain to be as loud as a film; more would only amplify what is no sound.
MAX_GAIN_DB = 46.0

#: The meter needs the first of these, and then takes as many as the second at a time.
_WINDOW_SAMPLES, _STEP_SAMPLES = SAMPLE_RATE * 2 // 5, SAMPLE_RATE // 10
_SETTLE_SAMPLES = SAMPLE_RATE // 2  # what the subsonic filter does with a constant offset has faded out after this

#: Samples in an AAC packet; also the encoder delay: how many it puts before the first sample of its input.
AAC_FRAME_SAMPLES = 1024
AAC_BITRATE = 192_000

#: Time stamps are rounded: consecutive samples can differ from them by less than this.
_MAX_DRIFT_SAMPLES = SAMPLE_RATE // 100
_LOUDNESS_TOLERANCE_LU = 0.3  # not audible


def decode_audio(path: Path, seconds: float) -> AudioSamples:
    """Return the first `seconds` of audio by its time stamps, gaps as silence. Raises InvalidClip `clip_corrupt`."""
    audio, position = np.zeros((2, round(seconds * SAMPLE_RATE)), np.float32), 0
    with open_mp4(path) as container:
        origin = start_of(container)
        for at, samples in decode_samples(container, peak=8):
            start = round((at - origin) * SAMPLE_RATE)
            if abs(start - position) > _MAX_DRIFT_SAMPLES:
                position = start
            part = samples[:, max(0, -position) :]
            section = audio[:, max(0, position) :][:, : part.shape[1]]
            section[...] = part[:, : section.shape[1]]
            position += samples.shape[1]
    return audio


def decode_audible(path: Path, seconds: float) -> AudioSamples:
    """Return the audio as `decode_audio` does, without what `remove_subsonic` removes."""
    return remove_subsonic(decode_audio(path, seconds))


def decode_samples(container: InputContainer, peak: float) -> Iterator[tuple[Fraction, AudioSamples]]:
    """Yield the samples of the first audio stream, cut at the peak, each part with its time stamp in seconds."""
    resampler = AudioResampler("fltp", "stereo", SAMPLE_RATE)
    for stream in container.streams.audio[:1]:
        for frame in chain(container.decode(stream), [None]):
            for part in resampler.resample(frame):
                samples = np.clip(np.nan_to_num(part.to_ndarray()), -peak, peak).astype(np.float32)
                yield to_seconds(part.pts, part.time_base), samples


def to_frame(audio: AudioSamples, start: int = 0) -> AudioFrame:
    """Return the samples as a frame that starts at the sample with this number."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
    return frame


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


def encode_aac(audio: AudioSamples, bitrate: int = AAC_BITRATE) -> list[bytes]:
    """Return the audio as AAC-LC packets of 1024 samples, in sync with the input, at `bitrate` bits per second.

    The encoder emits one priming packet. It replaces the first 21 ms of the audio, so that no edit list is
    needed to keep audio and video in sync.
    """
    encoder = _create_aac_codec("w")
    encoder.bit_rate = bitrate
    encoder.open()
    frames = (to_frame(audio[:, AAC_FRAME_SAMPLES:]), None)
    return [bytes(packet) for frame in frames for packet in encoder.encode(frame)]


def decode_aac(packets: list[bytes]) -> AudioSamples:
    """Return the samples that a player decodes from the packets of `encode_aac`."""
    decoder = _create_aac_codec("r")
    decoder.extradata = b"\x11\x90"  # AAC-LC, 48 kHz, stereo
    parts = [
        frame.to_ndarray().astype(np.float32)
        for packet in [*map(Packet, packets), None]
        for frame in decoder.decode(packet)
    ]
    return np.concatenate(parts, axis=1)


def _create_aac_codec(mode: str) -> AudioCodecContext:
    codec = CodecContext.create("aac", mode)  # type: ignore[call-overload]
    assert isinstance(codec, AudioCodecContext)  # noqa: S101 - narrows the type
    codec.sample_rate, codec.layout, codec.format = SAMPLE_RATE, "stereo", "fltp"
    return codec


def master_audio(audio: AudioSamples, *, lufs: float, ceiling_dbtp: float = -1.0) -> tuple[list[bytes], float]:
    """Return the audio at this loudness as AAC packets, true peak at most `ceiling_dbtp`, and the LUFS reached.

    Encoding shifts the peaks and drops the highest frequencies, so the packets are decoded, measured and encoded
    again with corrected settings if necessary. A loudness that is impossible below the ceiling is not reached.
    """
    target_lufs, headroom_db, bitrate = lufs, 0.3, AAC_BITRATE
    for attempt in range(8):
        normalised = normalise_loudness(audio, lufs=target_lufs, ceiling_dbtp=ceiling_dbtp - headroom_db)
        packets = encode_aac(normalised, bitrate)
        decoded = decode_aac(packets)
        loudness, excess_db = measure_loudness(decoded), measure_true_peak(decoded) - ceiling_dbtp
        is_near = abs(loudness - lufs) < _LOUDNESS_TOLERANCE_LU
        if loudness <= SILENCE_LUFS or (excess_db <= 0 and (is_near or attempt >= 3)):
            break
        target_lufs += 0 if is_near else lufs - loudness
        if excess_db > 0:
            headroom_db += excess_db + 0.1
            # The encoder occasionally creates a peak several decibels above its input; it does not at another bitrate.
            bitrate += 32_000
    return packets, loudness
