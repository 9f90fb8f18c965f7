"""The sound of a clip as samples, and samples as AAC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet

from providers.media.errors import BadClip
from providers.media.loudness import RATE, SILENT_LUFS, Sound, integrated_lufs, normalised, true_peak_dbtp
from providers.media.probe import open_mp4, picture_stream

#: Samples in a packet; also how many the coder puts before the first one it was given.
AAC_FRAME = 1024
BITRATE = 192_000

_NEAR = 0.3  # LU; the ear does not tell


def silence(seconds: float) -> Sound:
    """That many seconds of nothing."""
    return np.zeros((2, round(seconds * RATE)), np.float32)


def sound_of(path: Path, seconds: float) -> Sound:
    """The first `seconds` of the clip's sound from its first picture on; silence where it has none.

    Raises BadClip `clip_corrupt` where it cannot be decoded.
    """
    result = silence(seconds)
    try:
        with open_mp4(path) as container:
            if not container.streams.audio:
                return result
            stream = container.streams.audio[0]
            picture = picture_stream(container)
            begin = float((picture.start_time or 0) * (picture.time_base or 0))
            resampler = AudioResampler("fltp", "stereo", RATE)
            position: int | None = None
            for frame in container.decode(stream):
                if position is None:
                    position = round((float(frame.time or 0.0) - begin) * RATE)
                for part in resampler.resample(frame):
                    position = _laid(result, part, position)
                if position >= result.shape[1]:
                    break
            for part in resampler.resample(None) if position is not None else []:
                position = _laid(result, part, position or 0)
    except (FFmpegError, ValueError) as error:
        raise BadClip("clip_corrupt", "The clip's sound cannot be decoded.") from error
    return result


def _laid(into: Sound, part: AudioFrame, position: int) -> int:
    """Copy the part to its position, as far as it lies within, and return the position after it."""
    samples = part.to_ndarray().astype(np.float32)
    skip = max(0, -position)
    room = into[:, position + skip : position + samples.shape[1]]
    room[...] = samples[:, skip : skip + room.shape[1]]
    return position + part.samples


def encode_aac(sound: Sound, bitrate: int = BITRATE) -> list[bytes]:
    """The sound as AAC-LC packets of 1024 samples, in time with what was given, at `bitrate` bits per second.

    The coder begins with one packet of its own. The first 21 ms of the sound give way to it, so that no
    edit list is needed to keep picture and sound together.
    """
    coder = _coder("w")
    coder.bit_rate = bitrate
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, AAC_FRAME:]), format="fltp", layout="stereo")
    frame.sample_rate = RATE
    frame.pts = 0
    fifo = AudioFifo()
    fifo.write(frame)
    packets: list[bytes] = []
    for part in fifo.read_many(AAC_FRAME, partial=True):
        packets += [bytes(packet) for packet in coder.encode(part)]
    return packets + [bytes(packet) for packet in coder.encode(None)]


def decode_aac(packets: list[bytes]) -> Sound:
    """What is heard when the packets of `encode_aac` are played."""
    coder = _coder("r")
    coder.extradata = b"\x11\x90"  # AAC-LC, 48 kHz, stereo
    parts = [
        frame.to_ndarray().astype(np.float32)
        for packet in [*map(Packet, packets), None]
        for frame in coder.decode(packet)
    ]
    return np.concatenate(parts, axis=1)


def _coder(mode: str) -> AudioCodecContext:
    coder = CodecContext.create("aac", mode)  # type: ignore[call-overload]
    assert isinstance(coder, AudioCodecContext)  # noqa: S101 - tells the type
    coder.sample_rate = RATE
    coder.layout = "stereo"
    coder.format = "fltp"
    return coder


def mastered(sound: Sound, *, lufs: float, ceiling_dbtp: float = -1.0) -> tuple[list[bytes], float]:
    """The sound at this loudness as AAC packets, true peak at most `ceiling_dbtp`, and the LUFS reached.

    Coding moves the peaks and drops the highest tones, so the result is listened to and made again where
    that matters. A loudness no sound can have below the ceiling is not reached.
    """
    aim, headroom, bitrate = lufs, 0.3, BITRATE
    for _ in range(5):
        packets = encode_aac(normalised(sound, lufs=aim, ceiling_dbtp=ceiling_dbtp - headroom), bitrate)
        heard = decode_aac(packets)
        reached, excess = integrated_lufs(heard), true_peak_dbtp(heard) - ceiling_dbtp
        if reached <= SILENT_LUFS or (excess <= 0 and abs(reached - lufs) < _NEAR):
            break
        aim += 0 if abs(reached - lufs) < _NEAR else lufs - reached
        if excess > 0:
            headroom += excess + 0.1
            # Now and then the coder makes a peak of its own, decibels above what it was given; at another rate
            # it does not.
            bitrate += 32_000
    return packets, reached
