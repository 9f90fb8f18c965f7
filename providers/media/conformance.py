"""Check a finished film against the delivery rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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

from providers.media.errors import InvalidClip
from providers.media.freeze_detection import BlackFreezeDetector
from providers.media.loudness import SAMPLE_RATE, SILENCE_LUFS, AudioSamples, measure_loudness, measure_true_peak
from providers.media.mp4_boxes import Mp4Layout, read_layout
from providers.media.probe import duration_seconds, open_mp4, start_seconds
from providers.media.timeline import MAX_FILM_SECONDS, MIN_FILM_SECONDS

MAX_FILM_BYTES = 287_000_000


@dataclass(frozen=True)
class RuleResult:
    """One rule, whether the film satisfies it, and the observed value. Only a failed `error` rejects the film."""

    rule: str
    ok: bool
    observed: str
    severity: Literal["error", "warning"]


@dataclass(frozen=True)
class _FilmSpec:
    """The expected properties of a film."""

    seconds: float
    width: int
    height: int
    fps: int
    lufs: float


def check_film(
    path: Path, *, seconds: float, width: int = 1080, height: int = 1920, fps: int = 30, lufs: float = -14.0
) -> list[RuleResult]:
    """Check the film against every rule. It conforms when `failed_errors` of the results is empty.

    Decodes the whole film: run it in a subprocess or a thread. An unreadable file is a failed rule, not an exception.
    """
    spec = _FilmSpec(seconds, width, height, fps, lufs)
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


def _check_all(container: InputContainer, layout: Mp4Layout, spec: _FilmSpec, size: int) -> Iterator[RuleResult]:
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
    seconds = duration_seconds(videos[0])
    rate = size * 8 / max(seconds, 0.001) / 1e6
    yield _warning("bitrate", 1 <= rate <= 25, f"{rate:.2f} Mbit/s")
    yield from _check_decoded(_decode_film(container, videos[0], audios[0]), videos[0].frames, spec)


def _check_declared(video: VideoStream, audio: AudioStream, spec: _FilmSpec) -> Iterator[RuleResult]:
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


@dataclass
class _DecodedFilm:
    detector: BlackFreezeDetector = field(default_factory=BlackFreezeDetector)
    keyframes: list[int] = field(default_factory=list)
    corrupt_frames: int = 0
    audio_parts: list[AudioSamples] = field(default_factory=list)

    def keyframe_gap(self) -> int:
        """Return the longest distance between keyframes, in frames."""
        ends = [*self.keyframes[1:], self.detector.frames]
        return max((end - start for start, end in zip(self.keyframes, ends, strict=True)), default=0)

    def audio(self) -> AudioSamples:
        return np.concatenate(self.audio_parts, axis=1) if self.audio_parts else np.zeros((2, 0), np.float32)


def _decode_film(container: InputContainer, video: VideoStream, audio: AudioStream) -> _DecodedFilm:
    film = _DecodedFilm()
    resampler = AudioResampler("fltp", "stereo", SAMPLE_RATE)
    video.thread_type = "AUTO"
    for packet in container.demux(video, audio):
        for frame in packet.decode():
            if isinstance(frame, VideoFrame):
                if frame.key_frame:
                    film.keyframes.append(film.detector.frames)
                film.corrupt_frames += frame.is_corrupt
                film.detector.add_frame(frame)
            elif isinstance(frame, AudioFrame):
                film.audio_parts += [part.to_ndarray().astype(np.float32) for part in resampler.resample(frame)]
    return film


def _check_decoded(film: _DecodedFilm, declared_frames: int, spec: _FilmSpec) -> Iterator[RuleResult]:
    """Check the decoded frames and samples."""
    frames, expected = film.detector.frames, round(spec.seconds * spec.fps)
    is_complete = frames == declared_frames and abs(frames - expected) <= 1 and not film.corrupt_frames
    counts = f"{frames} of {declared_frames}, {expected} expected, {film.corrupt_frames} corrupt"
    yield _error("frames", is_complete, counts)
    gap = film.keyframe_gap() / spec.fps
    yield _warning("key_pictures", gap <= 2, f"{gap:.2f} s apart")
    black = f"{film.detector.black_frames} of {frames}, longest {film.detector.longest_black_run}"
    yield _warning("black", not film.detector.is_mostly_black(spec.fps), black)
    frozen = f"{film.detector.longest_frozen_run} frames"
    yield _warning("frozen", not film.detector.is_frozen(spec.fps), frozen)
    audio = film.audio()
    loudness, peak = measure_loudness(audio), measure_true_peak(audio)
    is_silent = loudness <= SILENCE_LUFS
    observed = "silent" if is_silent else f"{loudness:.2f} LUFS"
    yield _error("loudness", is_silent or abs(loudness - spec.lufs) <= 1, observed)
    yield _error("true_peak", peak <= -1, f"{peak:.2f} dBTP")
