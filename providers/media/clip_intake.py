"""Validate a delivered file and convert it to a clip: the subprocess of `clips.accept_clip`."""

import re
from pathlib import Path
from typing import Literal, TypedDict

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.stream import Stream

from providers.base import Json
from providers.media import subprocess_worker
from providers.media.audio import create_silence, decode_audio, encode_aac
from providers.media.errors import InvalidClip
from providers.media.loudness import SILENCE_LUFS, measure_loudness
from providers.media.mp4_boxes import Mp4Layout, read_layout
from providers.media.mp4_writer import MP4_OPTIONS, write_mp4
from providers.media.probe import DecodedClip, StreamInfo, decode_clip, open_mp4, read_stream_info, select_video_stream
from providers.media.video_frames import FrameFormat, read_frames

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
    if info.frame_count and frames + info.discarded_frames != info.frame_count:
        raise InvalidClip("clip_corrupt", f"Only {frames} of the clip's {info.frame_count} frames can be decoded.")
    if not seconds - MAX_MISSING_SECONDS <= decoded.seconds <= seconds + MAX_EXCESS_SECONDS:
        raise InvalidClip("clip_wrong_length", f"The clip lasts {decoded.seconds:.2f} s instead of {seconds:g} s.")
    lufs = measure_loudness(np.concatenate([create_silence(0), *decoded.audio_parts], axis=1))
    how: Literal["kept", "remuxed", "re-encoded"] = "kept"
    if not _video_conforms(info, decoded, seconds, width, height) or not _audio_conforms(info):
        how, frames = "re-encoded", round(min(decoded.seconds, seconds) * FPS)
        _reencode(path, target, frames, width, height, has_audio=bool(decoded.audio_parts))
    elif not _layout_conforms(layout, info, decoded):
        how = "remuxed"
        _remux(path, target, tag_bt709=info.color == "untagged")
    return {
        "seconds": round(frames / FPS, 3),
        "width": width,
        "height": height,
        "fps": FPS,
        "codec": "h264",
        "audio": "aac" if decoded.audio_parts or how == "re-encoded" else None,
        "frames": frames,
        "lufs": round(lufs, 1) if lufs > SILENCE_LUFS else None,
        "how": how,
        "warnings": _list_warnings(decoded, lufs),
    }


def _video_conforms(info: StreamInfo, decoded: DecodedClip, seconds: float, width: int, height: int) -> bool:
    return (
        info.video_format in [f"h264 {profile} yuv420p {width}x{height}" for profile in _H264_PROFILES]
        and info.has_square_pixels
        and info.color != "other"
        and decoded.rotation == 0
        and decoded.has_constant_frame_rate
        and abs(decoded.seconds - seconds) <= MAX_MISSING_SECONDS
    )


def _audio_conforms(info: StreamInfo) -> bool:
    # A film resamples 44.1 kHz and mono anyway; re-encoding the clip would only cost quality.
    return info.audio_format is None or re.fullmatch("aac (44100|48000) [12]", info.audio_format) is not None


def _layout_conforms(layout: Mp4Layout, info: StreamInfo, decoded: DecodedClip) -> bool:
    return (
        layout.is_faststart
        and not layout.is_fragmented
        and not layout.trailing_bytes
        and layout.major_brand != "qt  "
        and info.stream_count == (1 if info.audio_format is None else 2)
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
            if packet.dts is None:  # the empty packet at the end
                continue
            for part in tagger.filter(packet) if tagger and packet.stream is video else [packet]:
                part.stream = copies[packet.stream.index]
                output.mux(part)


def _reencode(path: Path, target: Path, frames: int, width: int, height: int, *, has_audio: bool) -> None:
    seconds, frame_format = frames / FPS, FrameFormat(width, height, FPS)
    audio = encode_aac(decode_audio(path, seconds) if has_audio else create_silence(seconds))
    write_mp4(target, read_frames(path, frames, frame_format), audio, frame_format)


def _list_warnings(decoded: DecodedClip, lufs: float) -> list[str]:
    fps = decoded.detector.frames / decoded.seconds
    flags = {
        "black": decoded.detector.is_mostly_black(fps),
        "frozen": decoded.detector.is_frozen(fps),
        "silent": lufs <= SILENCE_LUFS,
    }
    return [warning for warning, is_set in flags.items() if is_set]


def _handle_request(request: Json, _: subprocess_worker.ReportProgress) -> ClipFacts:
    return ingest_clip(Path(request["path"]), Path(request["work_dir"], "clip.mp4"), **request["spec"])


if __name__ == "__main__":
    subprocess_worker.serve_request(_handle_request)
