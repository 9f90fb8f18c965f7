"""Read a clip's stream information within limits, and decode a clip completely."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from providers.media.errors import InvalidClip
from providers.media.freeze_detection import BlackFreezeDetector
from providers.media.loudness import SAMPLE_RATE, AudioSamples

BT709, UNSPECIFIED = 1, 2
MAX_SIDE_PX = 2160
MAX_CLIP_SECONDS = 60
MAX_FPS = 60
MAX_STREAMS = 4

_VIDEO_CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4")
_AUDIO_CODECS = ("aac", "mp3", "opus", "flac", "alac", "ac3")
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


def duration_seconds(stream: Stream) -> float:
    """Return the stream's declared duration; 0 when it is not declared."""
    return float((stream.duration or 0) * (stream.time_base or 0))


def start_seconds(stream: Stream) -> float:
    """Return the stream's declared start time; 0 when it is not declared."""
    return float((stream.start_time or 0) * (stream.time_base or 0))


@dataclass(frozen=True)
class StreamInfo:
    """The declared properties of a file's first video stream and first audio stream."""

    #: Codec, profile, pixel format and size, for example "h264 High yuv420p 1080x1920".
    video_format: str
    has_square_pixels: bool
    color: Literal["bt709", "untagged", "other"]
    #: Declared number of video frames; 0 when it is not declared.
    frame_count: int
    #: Those of the frames that the file marks as not to be shown.
    discarded_frames: int
    #: Codec, sample rate and number of channels, for example "aac 48000 2"; None without audio.
    audio_format: str | None
    stream_count: int


def read_stream_info(path: Path) -> StreamInfo:
    """Return the declared properties of a file, without decoding it.

    Raises InvalidClip: `clip_corrupt`, `clip_too_large` or `clip_wrong_format`.
    """
    with open_mp4(path) as container:
        video, audio = select_video_stream(container), next(iter(container.streams.audio), None)
        codec, audio_codec = _codec_name(video), _codec_name(audio) if audio else None
        if codec not in _VIDEO_CODECS or (audio and audio_codec not in _AUDIO_CODECS):
            raise InvalidClip("clip_wrong_format", "The clip's codec is not supported.")
        _check_limits(container, video)
        context = video.codec_context
        return StreamInfo(
            video_format=f"{codec} {context.profile} {context.pix_fmt} {context.width}x{context.height}",
            has_square_pixels=video.sample_aspect_ratio in (None, 0, 1),
            color=_classify_color(video),
            frame_count=video.frames,
            discarded_frames=sum(entry.is_discard for entry in video.index_entries),
            audio_format=f"{audio_codec} {audio.rate} {audio.channels}" if audio else None,
            stream_count=len(container.streams),
        )


def _codec_name(stream: VideoStream | AudioStream) -> str:
    context = stream.codec_context
    # An unknown codec has no context, although the type declares one.
    return context.codec.canonical_name if context else ""  # type: ignore[redundant-expr,unused-ignore]


def _check_limits(container: InputContainer, video: VideoStream) -> None:
    if len(container.streams) > MAX_STREAMS:
        raise InvalidClip("clip_too_large", f"The clip has more than {MAX_STREAMS} streams.")
    context = video.codec_context
    if max(context.width, context.height) > MAX_SIDE_PX:
        raise InvalidClip("clip_too_large", f"The clip is larger than {MAX_SIDE_PX} pixels a side.")
    if min(context.width, context.height) < 16:
        raise InvalidClip("clip_wrong_format", "The clip is smaller than 16 pixels a side.")
    if any(duration_seconds(each) > MAX_CLIP_SECONDS for each in (*container.streams.video, *container.streams.audio)):
        raise InvalidClip("clip_too_large", f"The clip is longer than {MAX_CLIP_SECONDS} seconds.")
    if (video.average_rate or 0) > MAX_FPS or video.frames > MAX_FPS * MAX_CLIP_SECONDS:
        raise InvalidClip("clip_too_large", f"The clip has more than {MAX_FPS} frames per second.")


def _classify_color(video: VideoStream) -> Literal["bt709", "untagged", "other"]:
    tags = {video.colorspace, video.color_primaries, video.color_trc}
    if tags == {BT709} and video.color_range == 1:
        return "bt709"
    return "untagged" if tags <= {BT709, UNSPECIFIED} and video.color_range in (0, 1) else "other"


def create_resampler() -> AudioResampler:
    """Return a converter of decoded audio to 48 kHz stereo."""
    return AudioResampler("fltp", "stereo", SAMPLE_RATE)


def resample(resampler: AudioResampler, frame: AudioFrame | None) -> list[AudioSamples]:
    """Return the samples of the next audio frame, or for None those that remain in the resampler."""
    return [part.to_ndarray().astype(np.float32) for part in resampler.resample(frame)]


def decode_streams(container: InputContainer) -> Iterator[VideoFrame | AudioSamples]:
    """Yield the frames of the video stream and the samples of the first audio stream, in the order of the file."""
    video, resampler = select_video_stream(container), create_resampler()
    video.thread_type = "AUTO"
    for packet in container.demux(video, *container.streams.audio[:1]):
        for frame in packet.decode():
            if isinstance(frame, VideoFrame):
                yield frame
            elif isinstance(frame, AudioFrame):
                yield from resample(resampler, frame)
    yield from resample(resampler, None)


@dataclass
class DecodedClip:
    """The measurements of a completely decoded clip."""

    detector: BlackFreezeDetector = field(default_factory=BlackFreezeDetector)
    frame_times: list[Fraction] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    #: Anticlockwise rotation in degrees that displays the clip upright.
    rotation: int = 0
    audio_parts: list[AudioSamples] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Return the length; the last frame is assumed to last as long as the others on average."""
        span, steps = self.frame_times[-1] - self.frame_times[0], len(self.frame_times) - 1
        return float(span + (span / steps if steps else Fraction(1, 30)))

    @property
    def has_constant_frame_rate(self) -> bool:
        """Return whether every frame follows the previous one by exactly 1/30 second."""
        return all(later - earlier == Fraction(1, 30) for earlier, later in pairwise(self.frame_times))

    def add_frame(self, frame: VideoFrame) -> None:
        """Check and measure the next video frame. Raises InvalidClip."""
        if frame.is_corrupt or frame.pts is None or frame.time_base is None:
            raise InvalidClip("clip_corrupt", f"Frame {self.detector.frames + 1} of the clip is corrupt.")
        if not self.frame_times:
            self.size, self.rotation = (frame.width, frame.height), frame.rotation
        if (frame.width, frame.height) != self.size:
            raise InvalidClip("clip_wrong_format", "The clip's frames differ in size.")
        if len(self.frame_times) == MAX_FPS * MAX_CLIP_SECONDS:
            raise InvalidClip("clip_too_large", f"The clip has more than {MAX_FPS * MAX_CLIP_SECONDS} frames.")
        self.frame_times.append(frame.pts * frame.time_base)
        self.detector.add_frame(frame)

    def add_samples(self, samples: AudioSamples) -> None:
        """Add the next part of the audio. Raises InvalidClip."""
        self.audio_parts.append(samples)
        # A generous limit: an audio frame usually has many more than 100 samples.
        if len(self.audio_parts) > (MAX_CLIP_SECONDS + 1) * SAMPLE_RATE // 100:
            raise InvalidClip("clip_too_large", f"The clip's audio is longer than {MAX_CLIP_SECONDS} seconds.")


def decode_clip(path: Path) -> DecodedClip:
    """Decode every video frame and every audio sample.

    Raises InvalidClip `clip_corrupt` at the first fault, `clip_too_large` or `clip_wrong_format`.
    """
    clip = DecodedClip()
    try:
        with open_mp4(path) as container:
            for decoded in decode_streams(container):
                if isinstance(decoded, VideoFrame):
                    clip.add_frame(decoded)
                else:
                    clip.add_samples(decoded)
    except (FFmpegError, ValueError) as error:
        raise InvalidClip("clip_corrupt", "The clip cannot be decoded completely.") from error
    if not clip.frame_times:
        raise InvalidClip("clip_corrupt", "None of the clip's frames can be decoded.")
    return clip
