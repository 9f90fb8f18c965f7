"""What a clip says of itself, within limits, and what comes out when all of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
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

from providers.media.errors import BadClip
from providers.media.loudness import RATE, Sound
from providers.media.watch import Watch

BT709, UNTAGGED = 1, 2
MAX_SIDE = 2160
MAX_SECONDS = 60
MAX_FPS = 60
MAX_STREAMS = 4

_PICTURE_CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4")
_SOUND_CODECS = ("aac", "mp3", "opus", "flac", "alac", "ac3")
# Nothing but these decoders and the file itself may be opened, whatever a hostile file asks for.
_OPTIONS = {
    "protocol_whitelist": "file",
    "codec_whitelist": ",".join((*_PICTURE_CODECS, "libdav1d", *_SOUND_CODECS, "mp3float")),
}


def open_mp4(path: Path) -> InputContainer:
    """The file opened as MP4 and as nothing else.

    Raises BadClip `clip_corrupt` where its index cannot be read.
    """
    try:
        return av.open(str(path), "r", format="mp4", options=_OPTIONS, metadata_errors="replace")
    except FFmpegError as error:
        raise BadClip("clip_corrupt", "The clip's index cannot be read.") from error


def picture_stream(container: InputContainer) -> VideoStream:
    """The first moving picture in the file. Raises BadClip `clip_wrong_format` where there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise BadClip("clip_wrong_format", "The clip has no picture.")


@dataclass(frozen=True)
class Fields:
    """What the file says of its first picture and first sound."""

    width: int
    height: int
    rate: Fraction | None
    codec: str
    profile: str
    pixels: str
    square_pixels: bool
    colour: Literal["bt709", "untagged", "other"]
    #: As declared; 0 where the file does not say.
    frames: int
    sound_codec: str | None
    sound_rate: int
    sound_channels: int
    streams: int


def fields(path: Path) -> Fields:
    """Read the file's own description without decoding all of it.

    Raises BadClip: `clip_corrupt`, `clip_too_large` or `clip_wrong_format`.
    """
    with open_mp4(path) as container:
        picture = picture_stream(container)
        sound = next(iter(container.streams.audio), None)
        context = picture.codec_context
        codec, sound_codec = _codec(picture), _codec(sound) if sound else None
        if codec not in _PICTURE_CODECS or (sound and sound_codec not in _SOUND_CODECS):
            raise BadClip("clip_wrong_format", "The clip is coded in a way we do not take.")
        _check_limits(container, picture)
        return Fields(
            width=context.width,
            height=context.height,
            rate=picture.average_rate,
            codec=codec,
            profile=context.profile or "",
            pixels=context.pix_fmt or "",
            square_pixels=picture.sample_aspect_ratio in (None, 0, 1),
            colour=_colour(picture),
            frames=picture.frames,
            sound_codec=sound_codec,
            sound_rate=sound.rate if sound else 0,
            sound_channels=sound.channels if sound else 0,
            streams=len(container.streams),
        )


def _codec(stream: VideoStream | AudioStream) -> str:
    context = stream.codec_context
    # An unknown code has no context, whatever the type says.
    return context.codec.canonical_name if context else ""  # type: ignore[redundant-expr,unused-ignore]


def _check_limits(container: InputContainer, picture: VideoStream) -> None:
    if len(container.streams) > MAX_STREAMS:
        raise BadClip("clip_too_large", f"The clip has more than {MAX_STREAMS} streams.")
    context = picture.codec_context
    if max(context.width, context.height) > MAX_SIDE:
        raise BadClip("clip_too_large", f"The clip is larger than {MAX_SIDE} pixels a side.")
    if min(context.width, context.height) < 16:
        raise BadClip("clip_wrong_format", "The clip's picture is too small to be one.")
    if any(_seconds(stream) > MAX_SECONDS for stream in (*container.streams.video, *container.streams.audio)):
        raise BadClip("clip_too_large", f"The clip is longer than {MAX_SECONDS} seconds.")
    if (picture.average_rate or 0) > MAX_FPS or picture.frames > MAX_FPS * MAX_SECONDS:
        raise BadClip("clip_too_large", f"The clip has more than {MAX_FPS} pictures a second.")


def _seconds(stream: Stream) -> float:
    return float((stream.duration or 0) * (stream.time_base or 0))


def _colour(picture: VideoStream) -> Literal["bt709", "untagged", "other"]:
    tags = {picture.colorspace, picture.color_primaries, picture.color_trc}
    ranged = picture.color_range
    if tags == {BT709} and ranged == 1:
        return "bt709"
    return "untagged" if tags <= {BT709, UNTAGGED} and ranged in (0, 1) else "other"


@dataclass(frozen=True)
class Decoded:
    """What came out of a file that was decoded to its end."""

    watched: Watch
    #: Pictures the file itself says are not to be shown.
    unshown: int
    seconds: float
    #: Whether every picture follows the one before by exactly 1/30 second.
    steady: bool
    #: Degrees it must be turned anticlockwise by to be upright.
    rotation: int
    sound: Sound | None


def decode(path: Path) -> Decoded:
    """Decode every picture and every sample.

    Raises BadClip `clip_corrupt` at the first fault, `clip_too_large` or `clip_wrong_format`.
    """
    try:
        with open_mp4(path) as container:
            return _Decoding(container).run()
    except (FFmpegError, ValueError) as error:
        raise BadClip("clip_corrupt", "The clip cannot be decoded to its end.") from error


class _Decoding:
    """One pass over a file, and what is remembered of it."""

    def __init__(self, container: InputContainer) -> None:
        self.container = container
        self.picture = picture_stream(container)
        self.picture.thread_type = "AUTO"
        self.sound = next(iter(container.streams.audio), None)
        self.resampler = AudioResampler("fltp", "stereo", RATE)
        self.samples: list[Sound] = []
        self.times: list[Fraction] = []
        self.watched = Watch()
        self.rotation = 0
        self.size = (0, 0)

    def run(self) -> Decoded:
        unshown = 0
        for packet in self.container.demux(self.picture, *([self.sound] if self.sound else [])):
            unshown += packet.stream is self.picture and packet.is_discard
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    self._see(frame)
                elif isinstance(frame, AudioFrame):
                    self._hear(frame)
        if self.samples:
            self._hear(None)
        if not self.times:
            raise BadClip("clip_corrupt", "Not one picture of the clip can be decoded.")
        span = self.times[-1] - self.times[0]
        steps = {later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)}
        return Decoded(
            watched=self.watched,
            unshown=unshown,
            seconds=float(span + (span / (len(self.times) - 1) if steps else Fraction(1, 30))),
            steady=steps <= {Fraction(1, 30)},
            rotation=self.rotation,
            sound=np.concatenate(self.samples, axis=1) if self.samples else None,
        )

    def _see(self, frame: VideoFrame) -> None:
        if frame.is_corrupt or frame.pts is None or frame.time_base is None:
            raise BadClip("clip_corrupt", f"Picture {self.watched.frames + 1} of the clip is damaged.")
        if not self.times:
            self.size, self.rotation = (frame.width, frame.height), frame.rotation
        if (frame.width, frame.height) != self.size:
            raise BadClip("clip_wrong_format", "The clip changes its size on the way.")
        if len(self.times) == MAX_FPS * MAX_SECONDS:
            raise BadClip("clip_too_large", "The clip has more pictures than it may.")
        self.times.append(frame.pts * frame.time_base)
        self.watched.see(frame)

    def _hear(self, frame: AudioFrame | None) -> None:
        self.samples += [part.to_ndarray().astype(np.float32) for part in self.resampler.resample(frame)]
        # A packet is at least a hundred samples or so; what it counts is only that there is an end.
        if len(self.samples) > (MAX_SECONDS + 1) * RATE // 100:
            raise BadClip("clip_too_large", "The clip's sound is longer than it may be.")
