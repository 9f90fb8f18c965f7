"""Open a file as MP4, and decode its video completely, within limits."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from providers.media.errors import InvalidClip
from providers.media.freeze_detection import BlackFreezeDetector

BT709, UNSPECIFIED = 1, 2
MAX_SIDE_PX = 2160
MAX_FPS = 60
MAX_STREAMS = 4

_VIDEO_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4"}
_AUDIO_CODECS = {"aac", "mp3", "opus", "flac", "alac", "ac3"}
# A hostile file can open only these decoders, and no other file or address.
_DEMUXER_OPTIONS = {
    "protocol_whitelist": "file",
    "codec_whitelist": ",".join((*_VIDEO_CODECS, "libdav1d", *_AUDIO_CODECS, "mp3float")),
}


def open_mp4(path: Path) -> InputContainer:
    """Open the file as MP4, never as another format.

    Raises InvalidClip `clip_corrupt` when its index cannot be read.
    """
    try:
        return av.open(str(path), "r", format="mp4", options=_DEMUXER_OPTIONS, metadata_errors="replace")
    except FFmpegError as error:
        raise InvalidClip("clip_corrupt", "The clip's index cannot be read.") from error


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


@dataclass
class DecodedVideo:
    """What was measured while every frame of a file was decoded."""

    detector: BlackFreezeDetector
    keyframes: list[int]
    #: Anticlockwise rotation in degrees that displays the video upright.
    rotation: int
    #: How long frames are displayed, in seconds; the last one as long as the file declares.
    steps: set[Fraction]
    #: The time from the start of the file, which audio can determine, to the end of the last frame.
    seconds: float


def decode_video(container: InputContainer, *, max_seconds: float) -> DecodedVideo:
    """Decode every video frame of a file whose properties are within the limits.

    Raises InvalidClip: `clip_too_large`, `clip_wrong_format`, or `clip_corrupt` at the first fault.
    """
    video, detector, keyframes, rotation = select_video_stream(container), BlackFreezeDetector(), list[int](), 0
    times: list[Fraction] = []
    _check_limits(container, video, max_seconds)
    for frame in _decode_frames(container, video, max_seconds):
        keyframes += [len(times)] if frame.key_frame else []
        times.append(to_seconds(frame.pts, frame.time_base))
        rotation = frame.rotation
        detector.add_frame(frame)
    # An edit list can exclude frames, which are not decoded. A fragmented file declares no number.
    excluded = sum(entry.is_discard for entry in video.index_entries)
    if video.frames not in (0, len(times) + excluded):
        raise InvalidClip("clip_corrupt", f"Only {len(times)} of the clip's {video.frames} frames can be decoded.")
    usual_step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else Fraction(1, 30)
    declared_end = to_seconds((video.start_time or 0) + (video.duration or 0), video.time_base)
    end = max(times[-1] + usual_step, declared_end)
    steps = {later - earlier for earlier, later in pairwise([*times, end])}
    return DecodedVideo(detector, keyframes, rotation, steps, float(end - start_of(container)))


def _check_limits(container: InputContainer, video: VideoStream, max_seconds: float) -> None:
    audio_codecs = set(map(_codec_name, container.streams.audio[:1]))
    if _codec_name(video) not in _VIDEO_CODECS or not audio_codecs <= _AUDIO_CODECS:
        raise InvalidClip("clip_wrong_format", "The clip's codec is not supported.")
    if len(container.streams) > MAX_STREAMS:
        raise InvalidClip("clip_too_large", f"The clip has more than {MAX_STREAMS} streams.")
    context = video.codec_context
    if max(context.width, context.height) > MAX_SIDE_PX:
        raise InvalidClip("clip_too_large", f"The clip is larger than {MAX_SIDE_PX} pixels a side.")
    if min(context.width, context.height) < 16:
        raise InvalidClip("clip_wrong_format", "The clip is smaller than 16 pixels a side.")
    if any(to_seconds(each.duration, each.time_base) > max_seconds for each in container.streams):
        raise InvalidClip("clip_too_large", f"The clip is longer than {max_seconds:g} seconds.")
    if (video.average_rate or 0) > MAX_FPS or video.frames > MAX_FPS * max_seconds:
        raise InvalidClip("clip_too_large", f"The clip has more than {MAX_FPS} frames per second.")


def _codec_name(stream: VideoStream | AudioStream) -> str:
    context = stream.codec_context
    # An unknown codec has no context, although the type declares one.
    return context.codec.canonical_name if context else ""  # type: ignore[redundant-expr,unused-ignore]


def _decode_frames(container: InputContainer, video: VideoStream, max_seconds: float) -> Iterator[VideoFrame]:
    """Yield every frame of the stream. Raises InvalidClip for one that is corrupt, late, or of another size."""
    video.thread_type = "AUTO"
    size, number = None, 0
    try:
        for number, frame in enumerate(container.decode(video), start=1):
            if frame.is_corrupt or frame.pts is None:
                raise InvalidClip("clip_corrupt", f"Frame {number} of the clip is corrupt.")
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise InvalidClip("clip_wrong_format", "The clip's frames differ in size.")
            if number > MAX_FPS * max_seconds or frame.time > max_seconds:
                raise InvalidClip("clip_too_large", f"The clip is longer than {max_seconds:g} seconds.")
            yield frame
    except (FFmpegError, ValueError) as error:
        raise InvalidClip("clip_corrupt", "The clip cannot be decoded completely.") from error
    if not number:
        raise InvalidClip("clip_corrupt", "None of the clip's frames can be decoded.")
