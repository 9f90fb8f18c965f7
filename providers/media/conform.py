"""What a finished film must satisfy before anybody sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from providers.media.boxes import Shape, shape
from providers.media.errors import BadClip
from providers.media.loudness import RATE, SILENT_LUFS, Sound, integrated_lufs, true_peak_dbtp
from providers.media.probe import open_mp4
from providers.media.timeline import MAX_SECONDS, MIN_SECONDS
from providers.media.watch import Watch

MAX_BYTES = 287_000_000


@dataclass(frozen=True)
class Finding:
    """One rule, whether the film keeps it, and what was seen. Only an `error` forbids the film."""

    rule: str
    ok: bool
    observed: str
    severity: Literal["error", "warning"]


@dataclass(frozen=True)
class Wanted:
    """What the film was meant to be: seconds, pixels, pictures a second, LUFS."""

    seconds: float
    width: int
    height: int
    fps: int
    lufs: float


def final_video_conforms(
    path: Path, *, seconds: float, width: int = 1080, height: int = 1920, fps: int = 30, lufs: float = -14.0
) -> list[Finding]:
    """Judge the film by every rule. It conforms when no finding with severity `error` has `ok` false.

    Decodes the whole film: for work in a child or a thread. Raises nothing for a bad file; that is a finding.
    """
    wanted = Wanted(seconds, width, height, fps, lufs)
    try:
        layout = shape(path)
        with open_mp4(path) as container:
            return list(_judged(container, layout, wanted, path.stat().st_size))
    except (BadClip, FFmpegError, ValueError) as error:
        return [_error("readable", False, str(error))]


def errors(findings: list[Finding]) -> list[Finding]:
    """The findings for which the film may not be used."""
    return [finding for finding in findings if not finding.ok and finding.severity == "error"]


def _error(rule: str, ok: bool, observed: object) -> Finding:
    return Finding(rule, bool(ok), str(observed), "error")


def _warning(rule: str, ok: bool, observed: object) -> Finding:
    return Finding(rule, bool(ok), str(observed), "warning")


def _judged(container: InputContainer, layout: Shape, wanted: Wanted, size: int) -> Iterator[Finding]:
    yield _error("whole_file", not layout.tail, f"{layout.tail} bytes after the end")
    yield _error("faststart", layout.faststart and not layout.fragmented, " ".join(layout.kinds))
    yield _error("size", size <= MAX_BYTES, f"{size} bytes")
    yield _warning("edit_list", not layout.edit_lists, layout.edit_lists)
    pictures, sounds = container.streams.video, container.streams.audio
    streams = f"{len(pictures)} video, {len(sounds)} audio, {len(container.streams)} in all"
    fit = len(pictures) == len(sounds) == 1 and len(container.streams) == 2
    yield _error("streams", fit, streams)
    if not fit:
        return
    yield from _declared(pictures[0], sounds[0], wanted)
    seconds = _seconds(pictures[0])
    rate = size * 8 / max(seconds, 0.001) / 1e6
    yield _warning("bitrate", 1 <= rate <= 25, f"{rate:.2f} Mbit/s")
    yield from _decoded(container, pictures[0], sounds[0], wanted)


def _declared(picture: VideoStream, sound: AudioStream, wanted: Wanted) -> Iterator[Finding]:
    """What the file says of itself."""
    context = picture.codec_context
    codec = f"{context.name} {context.profile} {context.pix_fmt}"
    yield _error("video", codec in ("h264 High yuv420p", "h264 Main yuv420p"), codec)
    frame_size = f"{context.width}x{context.height}"
    yield _error("frame_size", frame_size == f"{wanted.width}x{wanted.height}", frame_size)
    ratio = picture.sample_aspect_ratio
    yield _error("square_pixels", ratio in (None, 0, 1), ratio)
    rates = f"{picture.average_rate} {picture.base_rate}"
    yield _error("frame_rate", rates == f"{wanted.fps} {wanted.fps}", rates)
    colour = [int(tag) for tag in (picture.color_range, picture.colorspace, picture.color_trc, picture.color_primaries)]
    yield _warning("colour", colour == [1, 1, 1, 1], colour)
    heard = f"{sound.codec_context.name} {sound.rate} {sound.layout.name}"
    yield _error("audio", heard == "aac 48000 stereo", heard)
    seconds, skew = _seconds(picture), _seconds(sound) - _seconds(picture)
    yield _error("length", MIN_SECONDS <= seconds <= MAX_SECONDS, f"{seconds:.3f} s")
    off = abs(seconds - wanted.seconds)
    yield _error("length_as_asked", off <= 1 / wanted.fps + 1e-3, f"{seconds:.3f} s for {wanted.seconds:.3f} s")
    yield _error("sound_as_long_as_picture", abs(skew) <= 0.1, f"{skew:+.3f} s")
    begins = [float((stream.start_time or 0) * (stream.time_base or 0)) for stream in (picture, sound)]
    yield _error("starts_at_once", max(map(abs, begins)) <= 0.05, begins)


def _decoded(container: InputContainer, picture: VideoStream, sound: AudioStream, wanted: Wanted) -> Iterator[Finding]:
    """What is seen and heard."""
    watched, keys, corrupt = Watch(), [], 0
    parts: list[Sound] = []
    resampler = AudioResampler("fltp", "stereo", RATE)
    picture.thread_type = "AUTO"
    for packet in container.demux(picture, sound):
        for frame in packet.decode():
            if isinstance(frame, VideoFrame):
                keys += [watched.frames] if frame.key_frame else []
                corrupt += frame.is_corrupt
                watched.see(frame)
            elif isinstance(frame, AudioFrame):
                parts += [part.to_ndarray().astype(np.float32) for part in resampler.resample(frame)]
    meant = round(wanted.seconds * wanted.fps)
    counts = f"{watched.frames} of {picture.frames}, {meant} meant, {corrupt} corrupt"
    whole = watched.frames == picture.frames and abs(watched.frames - meant) <= 1 and not corrupt
    yield _error("frames", whole, counts)
    ends = [*keys[1:], watched.frames]
    gap = max((end - key for key, end in zip(keys, ends, strict=True)), default=0) / wanted.fps
    yield _warning("key_pictures", gap <= 2, f"{gap:.2f} s apart")
    black = f"{watched.black} of {watched.frames}, longest {watched.black_run}"
    yield _warning("black", not watched.mostly_black(wanted.fps), black)
    yield _warning("frozen", not watched.frozen(wanted.fps), f"{watched.still_run} pictures")
    heard = np.concatenate(parts, axis=1) if parts else np.zeros((2, 0), np.float32)
    loud, peak = integrated_lufs(heard), true_peak_dbtp(heard)
    silent = loud <= SILENT_LUFS
    yield _error("loudness", silent or abs(loud - wanted.lufs) <= 1, "silent" if silent else f"{loud:.2f} LUFS")
    yield _error("true_peak", peak <= -1, f"{peak:.2f} dBTP")


def _seconds(stream: VideoStream | AudioStream) -> float:
    return float((stream.duration or 0) * (stream.time_base or 0))
