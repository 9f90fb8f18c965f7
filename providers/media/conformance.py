"""Check a finished film against the delivery rules."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

from av.container.input import InputContainer

from providers.media.audio import decode_audio
from providers.media.errors import InvalidClip
from providers.media.loudness import SILENCE_LUFS, AudioSamples, measure_loudness, measure_true_peak
from providers.media.mp4_boxes import Mp4Layout, read_layout
from providers.media.probe import (
    DecodedVideo,
    decode_video,
    open_mp4,
    select_video_stream,
    to_seconds,
)
from providers.media.timeline import MAX_FILM_SECONDS, MIN_FILM_SECONDS

MAX_FILM_BYTES = 287_000_000
#: Sound and picture are in time within this.
MAX_OFFSET_SECONDS = 0.045


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
    h264_profiles: tuple[str, ...] = ("High", "Main")


def check_film(path: Path, spec: FilmSpec) -> list[RuleResult]:
    """Check the film against every rule. It conforms when `failed_errors` of the results is empty.

    Decodes the whole film: run it in a subprocess or a thread. An unreadable file is a failed rule, not an exception.
    """
    try:
        layout = read_layout(path)
        with open_mp4(path) as container:
            decoded = decode_video(container, max_seconds=MAX_FILM_SECONDS + 1)
            results = [*check_format(container, layout, decoded, spec), *_check_film(container, decoded, spec)]
            results.append(_warning("edit_list", not layout.has_edit_list, layout.has_edit_list))
        audio = decode_audio(path, decoded.seconds)
        return [*results, *_check_audio(audio, spec)]
    except InvalidClip as error:
        return [_error("readable", False, str(error))]


def failed_errors(results: list[RuleResult]) -> list[RuleResult]:
    """Return the results that reject the film."""
    return [result for result in results if not result.ok and result.severity == "error"]


def _error(rule: str, ok: bool, observed: object) -> RuleResult:
    return RuleResult(rule, bool(ok), str(observed), "error")


def _warning(rule: str, ok: bool, observed: object) -> RuleResult:
    return RuleResult(rule, bool(ok), str(observed), "warning")


def check_format(
    container: InputContainer, layout: Mp4Layout, decoded: DecodedVideo, spec: FilmSpec
) -> Iterator[RuleResult]:
    """Check the rules for films and clips. Every renderer and player displays a file that satisfies them alike."""
    video, audio = select_video_stream(container), next(iter(container.streams.audio), None)
    streams = f"{len(container.streams.video)} video, {len(container.streams.audio)} audio"
    has_one_each = len(container.streams) == (2 if audio else 1)
    yield _error("streams", has_one_each, f"{streams}, {len(container.streams)} in all")
    yield _error("whole_file", not layout.trailing_bytes, f"{layout.trailing_bytes} bytes after the end")
    yield _error("faststart", layout.is_faststart, b" ".join(layout.box_kinds).decode())
    context = video.codec_context
    codec = f"{context.name} {context.profile} {context.pix_fmt}"
    yield _error("video", codec in [f"h264 {profile} yuv420p" for profile in spec.h264_profiles], codec)
    frame_size = f"{context.width}x{context.height}, rotated by {decoded.rotation}"
    yield _error("frame_size", frame_size == f"{spec.width}x{spec.height}, rotated by 0", frame_size)
    ratio = video.sample_aspect_ratio
    yield _error("square_pixels", ratio in (None, 0, 1), ratio)
    steps = f"{float(min(decoded.steps)):.4f} to {float(max(decoded.steps)):.4f} s a frame"
    yield _error("frame_rate", decoded.steps == {Fraction(1, spec.fps)}, steps)
    color = [int(tag) for tag in (video.color_range, video.colorspace, video.color_trc, video.color_primaries)]
    yield _warning("colour", color == [1, 1, 1, 1], color)
    if audio:
        audio_format = f"{audio.codec_context.name} {audio.rate} {audio.layout.name}"
        yield _error("audio", audio_format == "aac 48000 stereo", audio_format)
        gap = max((later.timestamp - earlier.timestamp for earlier, later in pairwise(audio.index_entries)), default=0)
        yield _error("sound_without_gaps", to_seconds(gap, audio.time_base) <= MAX_OFFSET_SECONDS, f"{gap} samples")
    starts = [float(to_seconds(stream.start_time, stream.time_base)) for stream in (video, audio) if stream]
    yield _error("starts_at_once", max(map(abs, starts)) <= MAX_OFFSET_SECONDS, starts)
    frames = decoded.detector.frames
    yield _error("frames", frames == video.frames, f"{frames} of {video.frames}")
    declared = layout.declared_seconds
    yield _error("declared_length", abs(declared - decoded.seconds) < 1, f"{declared:.3f} s")


def _check_film(container: InputContainer, decoded: DecodedVideo, spec: FilmSpec) -> Iterator[RuleResult]:
    size, detector = container.size, decoded.detector
    yield _error("size", size <= MAX_FILM_BYTES, f"{size} bytes")
    yield _error("sound", bool(container.streams.audio), f"{len(container.streams.audio)} audio streams")
    rate = size * 8 / decoded.seconds / 1e6
    yield _warning("bitrate", 1 <= rate <= 25, f"{rate:.2f} Mbit/s")
    yield _error("length", MIN_FILM_SECONDS <= decoded.seconds <= MAX_FILM_SECONDS, f"{decoded.seconds:.3f} s")
    difference = abs(decoded.seconds - spec.seconds)
    seconds = f"{decoded.seconds:.3f} s for {spec.seconds:.3f} s"
    yield _error("length_as_asked", difference <= 1 / spec.fps + 1e-3, seconds)
    sound = sum(to_seconds(stream.duration, stream.time_base) for stream in container.streams.audio)
    skew = float(sound) - decoded.seconds
    yield _error("sound_as_long_as_picture", abs(skew) <= 0.1, f"{skew:+.3f} s")
    gap = max(later - earlier for earlier, later in pairwise([*decoded.keyframes, detector.frames])) / spec.fps
    yield _warning("key_pictures", gap <= 2, f"{gap:.2f} s apart")
    black = f"{detector.black_frames} of {detector.frames}, longest {detector.longest_black_run}"
    yield _warning("black", not detector.is_mostly_black(spec.fps), black)
    yield _warning("frozen", not detector.is_frozen(spec.fps), f"{detector.longest_frozen_run} frames")


def _check_audio(audio: AudioSamples, spec: FilmSpec) -> Iterator[RuleResult]:
    loudness, peak = measure_loudness(audio), measure_true_peak(audio)
    is_silent = loudness <= SILENCE_LUFS
    observed = "silent" if is_silent else f"{loudness:.2f} LUFS"
    yield _error("loudness", is_silent or abs(loudness - spec.lufs) <= 1, observed)
    yield _error("true_peak", peak <= -1, f"{peak:.2f} dBTP")
