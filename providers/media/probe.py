"""Open a file as MP4, and decode its video completely, within limits."""

import contextlib
import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from providers.base import InvalidClip

BT709, UNSPECIFIED = 1, 2
MAX_SIDE_PX = 2160
MAX_FPS = 60
MAX_STREAMS = 4
MAX_BOXES = 4096

# Like ffmpeg's blackdetect and freezedetect: mean luma, of which video black is 16, and mean difference between frames.
_BLACK_LUMA = 20
_FROZEN_DIFFERENCE = 0.05

#: Boxes allowed at the top level of an MP4 file. Other bytes after a complete film are trailing garbage.
_BOX_KINDS = frozenset(b"ftyp styp pdin moov mdat moof mfra sidx ssix free skip wide uuid meta udta emsg prft".split())
_VIDEO_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4"}
_AUDIO_CODECS = {"aac", "mp3", "opus", "flac", "alac", "ac3"}
# A hostile file can open only these decoders, and no other file or address.
_DEMUXER_OPTIONS = {
    "protocol_whitelist": "file",
    "codec_whitelist": ",".join((*_VIDEO_CODECS, "libdav1d", *_AUDIO_CODECS, "mp3float")),
}


@dataclass(frozen=True)
class Mp4Layout:
    """The top-level structure of an MP4 file."""

    #: Whether the complete index (`moov`) precedes the content (`mdat`).
    is_faststart: bool
    trailing_bytes: int
    has_edit_list: bool
    #: The length in the movie header, which players display.
    declared_seconds: float


def read_layout(path: Path) -> Mp4Layout:
    """Return the layout of a complete MP4 file. Raises InvalidClip `clip_empty`, `clip_not_mp4` or `clip_truncated`."""
    size, end, kinds, index = path.stat().st_size, 0, list[bytes](), b""
    with path.open("rb") as file:
        while end + 8 <= size and len(kinds) < MAX_BOXES:
            file.seek(end)
            length, kind, long_length = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            length = {0: size - end, 1: long_length}.get(length, length)
            if kind not in _BOX_KINDS or length < 8:
                break
            if kind == b"moov":
                file.seek(end)
                index = file.read(min(length, size))
            kinds.append(kind)
            end += length
    _check_boxes(kinds, size, size - end)
    is_faststart = b"moof" not in kinds and kinds.index(b"moov") < kinds.index(b"mdat")
    return Mp4Layout(is_faststart, size - end, b"elst" in index, _read_duration(index))


def _read_duration(index: bytes) -> float:
    start = index.find(b"mvhd") + 4
    layout = ">QQIQ" if index[start : start + 1] == b"\1" else ">IIII"
    *_, scale, duration = struct.unpack_from(layout, index[start + 4 : start + 32].ljust(28, b"\0"))
    return float(duration / max(scale, 1))


def _check_boxes(kinds: list[bytes], size: int, trailing_bytes: int) -> None:
    if size == 0:
        raise InvalidClip("clip_empty", "The clip is an empty file.")
    is_complete = {b"moov", b"mdat"} <= set(kinds)
    if kinds[:1] != [b"ftyp"] or (trailing_bytes > 0 and not is_complete):
        raise InvalidClip("clip_not_mp4", "The clip is not an MP4 file, or only its first bytes are.")
    if trailing_bytes < 0 or not is_complete:
        raise InvalidClip("clip_truncated", "The clip is truncated: its index or its content is incomplete.")


@contextlib.contextmanager
def open_mp4(path: Path) -> Iterator[InputContainer]:
    """Open a file as MP4, no other format. Raises InvalidClip `clip_corrupt`, also for errors in the block."""
    try:
        with av.open(str(path), "r", format="mp4", options=_DEMUXER_OPTIONS, metadata_errors="replace") as container:
            yield container
    except (FFmpegError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise  # another file could not be written
        raise InvalidClip("clip_corrupt", "The clip cannot be decoded completely.") from error


def select_video_stream(container: InputContainer) -> VideoStream:
    """Return the first video stream that is not a cover picture. Raises InvalidClip `clip_wrong_format` without one."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise InvalidClip("clip_wrong_format", "The clip has no video stream.")


def start_of(container: InputContainer) -> Fraction:
    """Return the time in seconds at which the video or the first audio stream starts: time 0 of the decoded clip."""
    streams = (select_video_stream(container), *container.streams.audio[:1])
    return min(to_seconds(stream.start_time, stream.time_base) for stream in streams)


def to_seconds(ticks: int | None, time_base: Fraction | None) -> Fraction:
    """Return a time stamp or duration of a stream, packet or frame in seconds; 0 when it is not declared."""
    return (ticks or 0) * (time_base or Fraction(0))


@dataclass(frozen=True)
class DecodedVideo:
    """What was measured while every frame of a file was decoded."""

    #: How long frames are displayed, in seconds; the last one as long as the file declares.
    steps: set[Fraction]
    #: The time from the start of the file, which audio can determine, to the end of the last frame.
    seconds: float
    is_interlaced: bool
    #: Anticlockwise rotation in degrees that displays the video upright.
    rotation: int
    #: Of every frame: whether it is a keyframe, whether it is black, and whether it is like the one before.
    keyframes: list[bool]
    black: list[bool]
    frozen: list[bool]

    @property
    def frames(self) -> int:
        """Return the number of frames."""
        return len(self.keyframes)

    @property
    def is_mostly_black(self) -> bool:
        """Return whether a tenth of all frames, or more than one second in a row, is black."""
        return sum(self.black) * 10 >= self.frames or longest_run(self.black) / self.frames * self.seconds > 1.001

    @property
    def is_frozen(self) -> bool:
        """Return whether the image does not change for a second."""
        return longest_run(self.frozen) / self.frames * self.seconds >= 0.999 or max(self.steps) >= 1


def longest_run(flags: list[bool]) -> int:
    """Return the longest number of consecutive frames with the flag."""
    return max((len(list(run)) for flag, run in groupby(flags) if flag), default=0)


def decode_video(container: InputContainer, *, max_seconds: float) -> DecodedVideo:
    """Decode every video frame of a file whose properties are within the limits.

    Raises InvalidClip: `clip_too_large`, `clip_wrong_format`, or `clip_corrupt` at the first fault.
    """
    video, rotation, luma, is_interlaced = select_video_stream(container), 0, None, False
    times, keyframes, black, frozen = list[Fraction](), list[bool](), list[bool](), list[bool]()
    _check_limits(container, video, max_seconds)
    for frame in _decode_frames(container, video, max_seconds):
        times.append(to_seconds(frame.pts, frame.time_base))
        rotation, is_interlaced = frame.rotation, is_interlaced | frame.interlaced_frame
        previous, luma = luma, _sample_luma(frame)
        keyframes.append(frame.key_frame)
        black.append(bool(luma.mean() < _BLACK_LUMA))
        frozen.append(previous is not None and bool(np.abs(luma - previous).mean() < _FROZEN_DIFFERENCE))
    # An edit list can exclude frames, which are not decoded. A fragmented file declares no number.
    excluded = sum(entry.is_discard for entry in video.index_entries)
    if not times or video.frames not in (0, len(times) + excluded):
        raise InvalidClip("clip_corrupt", f"Only {len(times)} of the clip's {video.frames} frames can be decoded.")
    usual_step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else Fraction(1, 30)
    declared_end = to_seconds((video.start_time or 0) + (video.duration or 0), video.time_base)
    end = max(times[-1] + usual_step, declared_end)
    steps = {later - earlier for earlier, later in pairwise([*times, end])}
    seconds = float(end - start_of(container))
    return DecodedVideo(steps, seconds, is_interlaced, rotation, keyframes, black, frozen)


def _check_limits(container: InputContainer, video: VideoStream, max_seconds: float) -> None:
    audio_codecs = set(map(_codec_name, container.streams.audio[:1]))
    if _codec_name(video) not in _VIDEO_CODECS or not audio_codecs <= _AUDIO_CODECS:
        raise InvalidClip("clip_wrong_format", "The clip's codec is not supported.")
    sides = (video.codec_context.width, video.codec_context.height)
    seconds = max(to_seconds(stream.duration, stream.time_base) for stream in container.streams)
    if min(sides) < 16:
        raise InvalidClip("clip_wrong_format", "The clip is smaller than 16 pixels a side.")
    excesses = {
        f"has more than {MAX_STREAMS} streams": len(container.streams) > MAX_STREAMS,
        f"is larger than {MAX_SIDE_PX} pixels a side": max(sides) > MAX_SIDE_PX,
        f"is longer than {max_seconds:g} seconds": seconds > max_seconds,
        f"has more than {MAX_FPS} frames per second": max(video.average_rate or 0, video.frames / max_seconds)
        > MAX_FPS,
    }
    for excess, is_found in excesses.items():
        if is_found:
            raise InvalidClip("clip_too_large", f"The clip {excess}.")


def _codec_name(stream: VideoStream | AudioStream) -> str:
    context = stream.codec_context
    # An unknown codec has no context, although the type declares one.
    return context.codec.canonical_name if context else ""  # type: ignore[redundant-expr,unused-ignore]


def _decode_frames(container: InputContainer, video: VideoStream, max_seconds: float) -> Iterator[VideoFrame]:
    """Yield every frame of the stream. Raises InvalidClip for one that is corrupt, late, or of another size."""
    video.thread_type = "AUTO"
    size = video.codec_context.width, video.codec_context.height
    for number, frame in enumerate(container.decode(video), start=1):
        if frame.is_corrupt or frame.pts is None:
            raise InvalidClip("clip_corrupt", f"Frame {number} of the clip is corrupt.")
        if (frame.width, frame.height) != size:
            raise InvalidClip("clip_wrong_format", "The clip's frames differ in size.")
        if number > MAX_FPS * max_seconds or frame.time > max_seconds:
            raise InvalidClip("clip_too_large", f"The clip is longer than {max_seconds:g} seconds.")
        yield frame


def _sample_luma(frame: VideoFrame) -> NDArray[np.int16]:
    """Return every 16th pixel in each direction of the first plane, which is luma."""
    rows = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
    return rows[::16, : frame.width : 16].astype(np.int16)
