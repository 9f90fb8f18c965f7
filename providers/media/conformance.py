"""Check a finished film against the delivery rules."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from providers.media.audio import create_silence
from providers.media.errors import InvalidClip
from providers.media.freeze_detection import BlackFreezeDetector
from providers.media.loudness import SILENCE_LUFS, AudioSamples, measure_loudness, measure_true_peak
from providers.media.mp4_boxes import Mp4Layout, read_layout
from providers.media.probe import decode_streams, duration_seconds, open_mp4, start_seconds
from providers.media.timeline import MAX_FILM_SECONDS, MIN_FILM_SECONDS

MAX_FILM_BYTES = 287_000_000


@dataclass(frozen=True)
class RuleResult:
    """One rule, whether the film satisfies it, and the observed value. Only a failed `error` rejects the film."""

    rule: str
    ok: bool
    observed: str
    severity: Literal["error", "warning"]

    def __str__(self) -> str:
        return f"{self.rule} ({self.observed})"


@dataclass(frozen=True)
class FilmSpec:
    """The expected properties of a film."""

    seconds: float
    width: int = 1080
    height: int = 1920
    fps: int = 30
    lufs: float = -14.0


def check_film(path: Path, spec: FilmSpec) -> list[RuleResult]:
    """Check the film against every rule. It conforms when `failed_errors` of the results is empty.

    Decodes the whole film: run it in a subprocess or a thread. An unreadable file is a failed rule, not an exception.
    """
    try:
        layout = read_layout(path)
        with open_mp4(path) as container:
            return list(_check_all(container, layout, spec, path.stat().st_size))
    except (InvalidClip, FFmpegError, ValueError) as error:
        return [_error("readable", False, str(error))]


def failed_errors(results: list[RuleResult]) -> list[RuleResult]:
    """Return the results that reject the film."""
    return [result for result in results if not result.ok and result.severity == "error"]


def _error(rule: str, ok: bool, observed: object) -> RuleResult:
    return RuleResult(rule, bool(ok), str(observed), "error")


def _warning(rule: str, ok: bool, observed: object) -> RuleResult:
    return RuleResult(rule, bool(ok), str(observed), "warning")


def _check_all(container: InputContainer, layout: Mp4Layout, spec: FilmSpec, size: int) -> Iterator[RuleResult]:
    yield _error("whole_file", not layout.trailing_bytes, f"{layout.trailing_bytes} bytes after the end")
    yield _error("faststart", layout.is_faststart and not layout.is_fragmented, " ".join(layout.box_kinds))
    yield _error("size", size <= MAX_FILM_BYTES, f"{size} bytes")
    yield _warning("edit_list", not layout.edit_list_count, layout.edit_list_count)
    videos, audios = container.streams.video, container.streams.audio
    streams = f"{len(videos)} video, {len(audios)} audio, {len(container.streams)} in all"
    has_one_each = len(videos) == len(audios) == 1 and len(container.streams) == 2
    yield _error("streams", has_one_each, streams)
    if not has_one_each:
        return
    yield from _check_declared(videos[0], audios[0], spec)
    rate = size * 8 / max(duration_seconds(videos[0]), 0.001) / 1e6
    yield _warning("bitrate", 1 <= rate <= 25, f"{rate:.2f} Mbit/s")
    yield from _check_decoded(container, spec)


def _check_declared(video: VideoStream, audio: AudioStream, spec: FilmSpec) -> Iterator[RuleResult]:
    """Check the properties that the container declares."""
    context = video.codec_context
    codec = f"{context.name} {context.profile} {context.pix_fmt}"
    yield _error("video", codec in ("h264 High yuv420p", "h264 Main yuv420p"), codec)
    frame_size = f"{context.width}x{context.height}"
    yield _error("frame_size", frame_size == f"{spec.width}x{spec.height}", frame_size)
    ratio = video.sample_aspect_ratio
    yield _error("square_pixels", ratio in (None, 0, 1), ratio)
    rates = f"{video.average_rate} {video.base_rate}"
    yield _error("frame_rate", rates == f"{spec.fps} {spec.fps}", rates)
    color = [int(tag) for tag in (video.color_range, video.colorspace, video.color_trc, video.color_primaries)]
    yield _warning("colour", color == [1, 1, 1, 1], color)
    audio_format = f"{audio.codec_context.name} {audio.rate} {audio.layout.name}"
    yield _error("audio", audio_format == "aac 48000 stereo", audio_format)
    seconds = duration_seconds(video)
    skew = duration_seconds(audio) - seconds
    yield _error("length", MIN_FILM_SECONDS <= seconds <= MAX_FILM_SECONDS, f"{seconds:.3f} s")
    difference = abs(seconds - spec.seconds)
    yield _error("length_as_asked", difference <= 1 / spec.fps + 1e-3, f"{seconds:.3f} s for {spec.seconds:.3f} s")
    yield _error("sound_as_long_as_picture", abs(skew) <= 0.1, f"{skew:+.3f} s")
    starts = [start_seconds(video), start_seconds(audio)]
    yield _error("starts_at_once", max(map(abs, starts)) <= 0.05, starts)


def _check_decoded(container: InputContainer, spec: FilmSpec) -> Iterator[RuleResult]:
    """Check the decoded frames and samples."""
    detector, keyframes, corrupt_frames, audio_parts = BlackFreezeDetector(), [], 0, [create_silence(0)]
    for decoded in decode_streams(container):
        if isinstance(decoded, VideoFrame):
            if decoded.key_frame:
                keyframes.append(detector.frames)
            corrupt_frames += decoded.is_corrupt
            detector.add_frame(decoded)
        else:
            audio_parts.append(decoded)
    frames, declared, expected = detector.frames, container.streams.video[0].frames, round(spec.seconds * spec.fps)
    is_complete = frames == declared and abs(frames - expected) <= 1 and not corrupt_frames
    yield _error("frames", is_complete, f"{frames} of {declared}, {expected} expected, {corrupt_frames} corrupt")
    gap = max((later - earlier for earlier, later in pairwise([*keyframes, frames])), default=0) / spec.fps
    yield _warning("key_pictures", gap <= 2, f"{gap:.2f} s apart")
    black = f"{detector.black_frames} of {frames}, longest {detector.longest_black_run}"
    yield _warning("black", not detector.is_mostly_black(spec.fps), black)
    yield _warning("frozen", not detector.is_frozen(spec.fps), f"{detector.longest_frozen_run} frames")
    yield from _check_audio(np.concatenate(audio_parts, axis=1), spec)


def _check_audio(audio: AudioSamples, spec: FilmSpec) -> Iterator[RuleResult]:
    loudness, peak = measure_loudness(audio), measure_true_peak(audio)
    is_silent = loudness <= SILENCE_LUFS
    observed = "silent" if is_silent else f"{loudness:.2f} LUFS"
    yield _error("loudness", is_silent or abs(loudness - spec.lufs) <= 1, observed)
    yield _error("true_peak", peak <= -1, f"{peak:.2f} dBTP")
