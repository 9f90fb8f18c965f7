"""Decode a clip's audio to samples, encode samples as AAC, and master audio to a loudness."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext
from av.container.input import InputContainer
from av.packet import Packet

from providers.media.loudness import (
    SAMPLE_RATE,
    SILENCE_LUFS,
    AudioSamples,
    measure_loudness,
    measure_true_peak,
    normalise_loudness,
    to_frame,
)
from providers.media.probe import open_mp4, start_of, to_seconds

#: Samples in an AAC packet; also the encoder delay: how many it puts before the first sample of its input.
AAC_FRAME_SAMPLES = 1024
AAC_BITRATE = 192_000

#: Time stamps are rounded: consecutive samples can differ from them by less than this.
_MAX_DRIFT_SAMPLES = SAMPLE_RATE // 100
_LOUDNESS_TOLERANCE_LU = 0.3  # not audible


def create_silence(seconds: float) -> AudioSamples:
    """Return this many seconds of silent audio."""
    return np.zeros((2, round(seconds * SAMPLE_RATE)), np.float32)


def decode_audio(path: Path, seconds: float) -> AudioSamples:
    """Return the first `seconds` of audio by its time stamps, gaps as silence. Raises InvalidClip `clip_corrupt`."""
    audio, position = create_silence(seconds), 0
    with open_mp4(path) as container:
        for start, samples in _decode_samples(container):
            if abs(start - position) > _MAX_DRIFT_SAMPLES:
                position = start
            part = samples[:, max(0, -position) :]
            section = audio[:, max(0, position) :][:, : part.shape[1]]
            section[...] = part[:, : section.shape[1]]
            position += samples.shape[1]
    return audio


def _decode_samples(container: InputContainer) -> Iterator[tuple[int, AudioSamples]]:
    """Yield the samples of the first audio stream at 48 kHz with their position from the start of the file."""
    resampler, start = AudioResampler("fltp", "stereo", SAMPLE_RATE), start_of(container)
    for stream in container.streams.audio[:1]:
        for frame in chain(container.decode(stream), [None]):
            for part in resampler.resample(frame):
                yield (
                    round((to_seconds(part.pts, part.time_base) - start) * SAMPLE_RATE),
                    np.clip(np.nan_to_num(part.to_ndarray()), -8, 8).astype(np.float32),
                )


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
