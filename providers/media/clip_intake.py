"""Validate a delivered file and convert it to a clip: the subprocess of `clips.accept_clip`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypedDict

import av
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.stream import Stream

from providers.base import Json
from providers.media import subprocess_worker
from providers.media.audio import create_silence, decode_audio, encode_aac
from providers.media.errors import InvalidClip
from providers.media.loudness import SAMPLE_RATE, SILENCE_LUFS, measure_loudness
from providers.media.mp4_boxes import Mp4Layout, read_layout
from providers.media.mp4_writer import MP4_OPTIONS, write_mp4
from providers.media.probe import (
    DecodedClip,
    StreamInfo,
    decode_clip,
    open_mp4,
    read_stream_info,
    select_video_stream,
)
from providers.media.video_frames import read_frames

FPS = 30
#: Seconds that a clip may be too short: a film repeats its last frame for that long.
MAX_MISSING_SECONDS = 0.25
#: Seconds that a clip may be too long: the excess is cut off.
MAX_EXCESS_SECONDS = 1.0

_H264_PROFILES = ("High", "Main", "Constrained Baseline")
_BT709_FILTER = (
    "h264_metadata=video_full_range_flag=0:colour_primaries=1:transfer_characteristics=1:matrix_coefficients=1"
)


class ClipFacts(TypedDict):
    """The facts of an accepted clip; `how` is "kept" when the delivered file is used as it is."""

    seconds: float
    width: int
    height: int
    fps: int
    codec: str
    #: None for a clip without audio.
    audio: str | None
    frames: int
    #: None for silence.
    lufs: float | None
    how: Literal["kept", "remuxed", "re-encoded"]
    #: Of "black", "frozen" and "silent".
    warnings: list[str]


def ingest_clip(path: Path, target: Path, *, seconds: float, width: int, height: int) -> ClipFacts:
    """Check the file, and write a clip of this length (seconds) and size (pixels) to `target` unless it is one already.

    Raises InvalidClip.
    """
    layout = read_layout(path)
    info = read_stream_info(path)
    decoded = decode_clip(path)
    frames = decoded.detector.frames
    if info.frame_count and frames + decoded.discarded_frames != info.frame_count:
        raise InvalidClip("clip_corrupt", f"Only {frames} of the clip's {info.frame_count} frames can be decoded.")
    if not seconds - MAX_MISSING_SECONDS <= decoded.seconds <= seconds + MAX_EXCESS_SECONDS:
        raise InvalidClip("clip_wrong_length", f"The clip lasts {decoded.seconds:.2f} s instead of {seconds:g} s.")
    lufs = _measure_lufs(decoded)
    how: Literal["kept", "remuxed", "re-encoded"] = "kept"
    if not _video_conforms(info, decoded, seconds, width, height) or not _audio_conforms(info):
        how, frames = "re-encoded", round(min(decoded.seconds, seconds) * FPS)
        _reencode(path, target, frames, width, height, has_audio=decoded.audio is not None)
    elif not _layout_conforms(layout, info, decoded):
        how = "remuxed"
        _remux(path, target, tag_bt709=info.color == "untagged")
    return {
        "seconds": round(frames / FPS, 3),
        "width": width,
        "height": height,
        "fps": FPS,
        "codec": "h264",
        "audio": None if decoded.audio is None and how != "re-encoded" else "aac",
        "frames": frames,
        "lufs": lufs,
        "how": how,
        "warnings": _list_warnings(decoded, lufs),
    }


def _video_conforms(info: StreamInfo, decoded: DecodedClip, seconds: float, width: int, height: int) -> bool:
    return (
        info.codec == "h264"
        and info.profile in _H264_PROFILES
        and info.pixel_format == "yuv420p"
        and (info.width, info.height) == (width, height)
        and info.has_square_pixels
        and info.color != "other"
        and decoded.rotation == 0
        and decoded.has_constant_frame_rate
        and abs(decoded.seconds - seconds) <= MAX_MISSING_SECONDS
    )


def _audio_conforms(info: StreamInfo) -> bool:
    # A film resamples 44.1 kHz and mono anyway; re-encoding the clip would only cost quality.
    return info.audio_codec is None or (
        info.audio_codec == "aac" and info.sample_rate in (44_100, SAMPLE_RATE) and info.audio_channels in (1, 2)
    )


def _layout_conforms(layout: Mp4Layout, info: StreamInfo, decoded: DecodedClip) -> bool:
    return (
        layout.is_faststart
        and not layout.is_fragmented
        and not layout.trailing_bytes
        and layout.major_brand != "qt  "
        and info.stream_count == (1 if info.audio_codec is None else 2)
        and info.color == "bt709"
        and info.frame_count == decoded.detector.frames
        and layout.declared_seconds is not None
        and abs(layout.declared_seconds - decoded.seconds) < 1
    )


def _remux(path: Path, target: Path, *, tag_bt709: bool) -> None:
    """Copy the video and audio streams to a clean container, optionally tagging the video as BT.709."""
    with open_mp4(path) as source, av.open(str(target), "w", format="mp4", options=MP4_OPTIONS) as output:
        video = select_video_stream(source)
        streams: list[Stream] = [video, *source.streams.audio[:1]]
        copies = {stream.index: output.add_stream_from_template(stream) for stream in streams}
        tagger = BitStreamFilterContext(_BT709_FILTER, video, copies[video.index]) if tag_bt709 else None
        for packet in source.demux(*streams):
            for part in _filter_packet(packet, tagger if packet.stream is video else None):
                part.stream = copies[packet.stream.index]
                output.mux(part)


def _filter_packet(packet: Packet[Stream], tagger: BitStreamFilterContext | None) -> Iterator[Packet[Stream]]:
    if packet.dts is None:  # the empty packet at the end
        return
    if tagger is None:
        yield packet
    else:
        yield from tagger.filter(packet)


def _reencode(path: Path, target: Path, frames: int, width: int, height: int, *, has_audio: bool) -> None:
    seconds = frames / FPS
    write_mp4(
        target,
        read_frames(path, frames=frames, fps=FPS, width=width, height=height),
        encode_aac(decode_audio(path, seconds) if has_audio else create_silence(seconds)),
        width=width,
        height=height,
        fps=FPS,
    )


def _measure_lufs(decoded: DecodedClip) -> float | None:
    lufs = SILENCE_LUFS if decoded.audio is None else measure_loudness(decoded.audio)
    return round(lufs, 1) if lufs > SILENCE_LUFS else None


def _list_warnings(decoded: DecodedClip, lufs: float | None) -> list[str]:
    fps = decoded.detector.frames / decoded.seconds
    flags = {
        "black": decoded.detector.is_mostly_black(fps),
        "frozen": decoded.detector.is_frozen(fps),
        "silent": lufs is None,
    }
    return [warning for warning, is_set in flags.items() if is_set]


def _handle_request(request: Json, _: subprocess_worker.ReportProgress) -> ClipFacts:
    return ingest_clip(
        Path(request["path"]),
        Path(request["target"]),
        seconds=request["seconds"],
        width=request["width"],
        height=request["height"],
    )


if __name__ == "__main__":
    subprocess_worker.serve_request(_handle_request)
