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
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from providers.media.errors import BadClip
from providers.media.loudness import RATE, Sound

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


def _seconds(stream: VideoStream | AudioStream) -> float:
    return float((stream.duration or 0) * (stream.time_base or 0))


def _colour(picture: VideoStream) -> Literal["bt709", "untagged", "other"]:
    tags = {picture.colorspace, picture.color_primaries, picture.color_trc}
    ranged = picture.color_range
    if tags == {BT709} and ranged == 1:
        return "bt709"
    return "untagged" if tags <= {BT709, UNTAGGED} and ranged in (0, 1) else "other"


@dataclass
class Decoded:
    """What came out of a file that was decoded to its end."""

    frames: int = 0
    #: Pictures the file itself says are not to be shown.
    unshown: int = 0
    seconds: float = 0.0
    #: Whether every picture follows the one before by exactly 1/30 second.
    steady: bool = True
    rotation: int = 0
    black: int = 0
    longest_black: int = 0
    longest_still: int = 0
    sound: Sound | None = None


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
    """One pass over a file, and what is remembered of the pictures passed."""

    def __init__(self, container: InputContainer) -> None:
        self.container = container
        self.picture = picture_stream(container)
        self.picture.thread_type = "AUTO"  # type: ignore[assignment]  # a descriptor that takes names
        self.sound = next(iter(container.streams.audio), None)
        self.resampler = AudioResampler("fltp", "stereo", RATE)
        self.parts: list[Sound] = []
        self.samples = 0
        self.times: list[Fraction] = []
        self.black_run = self.still_run = 0
        self.last: np.ndarray[tuple[int, ...], np.dtype[np.int16]] | None = None
        self.size = (0, 0)
        self.found = Decoded()

    def run(self) -> Decoded:
        for packet in self.container.demux(self.picture, *([self.sound] if self.sound else [])):
            self.found.unshown += packet.stream is self.picture and packet.is_discard
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    self._see(frame)
                elif isinstance(frame, AudioFrame):
                    self._hear(frame)
        if self.sound and self.parts:
            self._hear(None)
            self.found.sound = np.concatenate(self.parts, axis=1)
        if not self.times:
            raise BadClip("clip_corrupt", "Not one picture of the clip can be decoded.")
        steps = {later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)}
        usual = (self.times[-1] - self.times[0]) / (len(self.times) - 1) if steps else Fraction(1, 30)
        self.found.seconds = float(self.times[-1] - self.times[0] + usual)
        self.found.steady = steps <= {Fraction(1, 30)}
        return self.found

    def _see(self, frame: VideoFrame) -> None:
        found = self.found
        if frame.is_corrupt or frame.pts is None:
            raise BadClip("clip_corrupt", f"Picture {found.frames + 1} of the clip is damaged.")
        if not found.frames:
            self.size, found.rotation = (frame.width, frame.height), frame.rotation
        if (frame.width, frame.height) != self.size:
            raise BadClip("clip_wrong_format", "The clip changes its size on the way.")
        found.frames += 1
        if found.frames > MAX_FPS * MAX_SECONDS:
            raise BadClip("clip_too_large", "The clip has more pictures than it may.")
        self.times.append(frame.pts * frame.time_base)
        plane = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:: 16, : frame.width : 16].astype(np.int16)
        black = bool(luma.mean() < 20)
        still = self.last is not None and bool(np.abs(luma - self.last).mean() < 0.05)
        self.last = luma
        self.black_run = self.black_run + 1 if black else 0
        self.still_run = self.still_run + 1 if still else 0
        found.black += black
        found.longest_black = max(found.longest_black, self.black_run)
        found.longest_still = max(found.longest_still, self.still_run)

    def _hear(self, frame: AudioFrame | None) -> None:
        for part in self.resampler.resample(frame):
            self.samples += part.samples
            if self.samples > (MAX_SECONDS + 1) * RATE:
                raise BadClip("clip_too_large", "The clip's sound is longer than it may be.")
            self.parts.append(part.to_ndarray().astype(np.float32))
