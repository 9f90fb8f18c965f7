"""Check a finished film against the delivery rules."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

from av.container.input import InputContainer

from prompts.film_limits import MAX_FILM_SECONDS, MIN_FILM_SECONDS
from providers.base import InvalidClip
from providers.media import probe
from providers.media.audio import SILENCE_LUFS, AudioSamples, decode_audio, measure_loudness, measure_true_peak

MAX_FILM_BYTES = 287_000_000
#: Sound and picture are in time within this.
MAX_OFFSET_SECONDS = 0.045


@dataclass(frozen=True)
class RuleResult:
    """One rule, whether the film satisfies it, and the observed value. Only a failed `error` rejects the film."""

    rule: str
    ok: bool
    observed: object
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.rule} ({self.observed})"


@dataclass(frozen=True)
class FilmSpec:
    """The expected properties of a film."""

    #: None for a film whose length is not known before.
    seconds: float | None
    width: int = 1080
    height: int = 1920
    fps: int = 30
    lufs: float = -14.0
    h264_profiles: tuple[str, ...] = ("High", "Main")
    #: The most text tracks; they have no effect on picture and sound.
    text_tracks: int = 1


def check_film(path: Path, spec: FilmSpec) -> list[RuleResult]:
    """Check the film against every rule. It conforms when `failed_errors` of the results is empty.

    Decodes the whole film: run it in a subprocess or a thread. An unreadable file is a failed rule, not an exception.
    """
    try:
        layout = probe.read_layout(path)
        with probe.open_mp4(path) as container:
            decoded = probe.decode_video(container, max_seconds=MAX_FILM_SECONDS + 1)
            results = [*check_format(container, layout, decoded, spec), *_check_film(container, decoded, spec)]
            results.append(RuleResult("edit_list", not layout.has_edit_list, layout.has_edit_list, "warning"))
        audio = decode_audio(path, decoded.seconds)
        return [*results, *_check_audio(audio, spec)]
    except InvalidClip as error:
        return [RuleResult("readable", False, str(error))]


def failed_errors(results: list[RuleResult]) -> list[RuleResult]:
    """Return the results that reject the film."""
    return [result for result in results if not result.ok and result.severity == "error"]


def check_format(
    container: InputContainer, layout: probe.Mp4Layout, decoded: probe.DecodedVideo, spec: FilmSpec
) -> Iterator[RuleResult]:
    """Check the rules for films and clips. Every renderer and player displays a file that satisfies them alike."""
    video, audio = probe.select_video_stream(container), next(iter(container.streams.audio), None)
    streams = ", ".join(stream.type for stream in container.streams)
    others = len(container.streams) - min(len(container.streams.subtitles), spec.text_tracks)
    yield RuleResult("streams", others == (2 if audio else 1), streams)
    yield RuleResult("whole_file", not layout.trailing_bytes, f"{layout.trailing_bytes} bytes after the end")
    yield RuleResult("faststart", layout.is_faststart, "index first" if layout.is_faststart else "index last or split")
    context = video.codec_context
    codec = f"{context.name} {context.profile} {context.pix_fmt}"
    yield RuleResult("video", codec in [f"h264 {profile} yuv420p" for profile in spec.h264_profiles], codec)
    frame_size = f"{context.width}x{context.height}, rotated by {decoded.rotation}"
    yield RuleResult("frame_size", frame_size == f"{spec.width}x{spec.height}, rotated by 0", frame_size)
    yield RuleResult("progressive", not decoded.is_interlaced, "interlaced" if decoded.is_interlaced else "progressive")
    ratio = video.sample_aspect_ratio
    yield RuleResult("square_pixels", ratio in (None, 0, 1), ratio)
    steps = f"{float(min(decoded.steps)):.4f} to {float(max(decoded.steps)):.4f} s a frame"
    yield RuleResult("frame_rate", decoded.steps == {Fraction(1, spec.fps)}, steps)
    color = [int(tag) for tag in (video.color_range, video.colorspace, video.color_trc, video.color_primaries)]
    yield RuleResult("colour", color == [1, 1, 1, 1], color, "warning")
    if audio:
        audio_format = f"{audio.codec_context.name} {audio.rate} {audio.layout.name}"
        seconds = float(probe.to_seconds(audio.duration, audio.time_base))
        yield RuleResult("audio", audio_format == "aac 48000 stereo", f"{audio_format}, {seconds:.3f} s")
        times = [entry.timestamp for entry in audio.index_entries]
        ticks = max((later - earlier for earlier, later in pairwise(times)), default=0)
        step = float(probe.to_seconds(ticks, audio.time_base))
        yield RuleResult("sound_without_gaps", step <= MAX_OFFSET_SECONDS, f"{step:.3f} s")
    starts = [float(probe.to_seconds(stream.start_time, stream.time_base)) for stream in (video, audio) if stream]
    yield RuleResult("starts_at_once", max(map(abs, starts)) <= MAX_OFFSET_SECONDS, starts)
    yield RuleResult("frames", decoded.frames == video.frames, f"{decoded.frames} of {video.frames}")
    is_declared = abs(layout.declared_seconds - decoded.seconds) < 1
    yield RuleResult("declared_length", is_declared, f"{layout.declared_seconds:.3f} s")


def _check_film(container: InputContainer, decoded: probe.DecodedVideo, spec: FilmSpec) -> Iterator[RuleResult]:
    yield RuleResult("size", container.size <= MAX_FILM_BYTES, f"{container.size} bytes")
    rate = container.size * 8 / decoded.seconds / 1e6
    yield RuleResult("bitrate", 1 <= rate <= 25, f"{rate:.2f} Mbit/s", "warning")
    yield RuleResult("length", MIN_FILM_SECONDS <= decoded.seconds <= MAX_FILM_SECONDS, f"{decoded.seconds:.3f} s")
    if spec.seconds is not None:
        is_as_asked = abs(decoded.seconds - spec.seconds) <= 1 / spec.fps + 1e-3
        yield RuleResult("length_as_asked", is_as_asked, f"{decoded.seconds:.3f} s for {spec.seconds:.3f} s")
    sounds = [float(probe.to_seconds(stream.duration, stream.time_base)) for stream in container.streams.audio]
    yield RuleResult("sound", len(sounds) == 1, f"{len(sounds)} audio streams")
    skew = sum(sounds) - decoded.seconds
    yield RuleResult("sound_as_long_as_picture", abs(skew) <= 0.1, f"{skew:+.3f} s")
    gap = (probe.longest_run([not is_key for is_key in decoded.keyframes]) + 1) / spec.fps
    yield RuleResult("key_pictures", gap <= 2, f"{gap:.2f} s apart", "warning")
    black = f"{sum(decoded.black)} of {decoded.frames}, longest {probe.longest_run(decoded.black)}"
    yield RuleResult("black", not decoded.is_mostly_black, black, "warning")
    yield RuleResult("frozen", not decoded.is_frozen, f"{probe.longest_run(decoded.frozen)} frames", "warning")


def _check_audio(audio: AudioSamples, spec: FilmSpec) -> Iterator[RuleResult]:
    loudness, peak = measure_loudness(audio), measure_true_peak(audio)
    is_silent = loudness <= SILENCE_LUFS
    observed = "silent" if is_silent else f"{loudness:.2f} LUFS"
    # Clicks are not louder below the peak limit, so a film that is too quiet is not rejected.
    is_near = is_silent or abs(loudness - spec.lufs) <= 1
    yield RuleResult("loudness", is_near, observed, "warning" if loudness < spec.lufs else "error")
    yield RuleResult("true_peak", peak <= -1, f"{peak:.2f} dBTP")
