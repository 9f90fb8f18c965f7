"""Render a film from a manifest and its clips."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from av.video.frame import VideoFrame

from providers.base import Json
from providers.media.audio import SILENCE_LUFS, decode_audible, master_audio
from providers.media.conformance import MAX_FILM_BYTES, FilmSpec, RuleResult, check_film, failed_errors
from providers.media.film_texts import FilmTexts, text_track
from providers.media.glyphs import find_missing_glyphs
from providers.media.mix import add_sounds, describe_overrun, mix_clips, time_narrations
from providers.media.movement import push_in
from providers.media.mp4_writer import DEFAULT_CRF, FilmTooLarge, replace_audio, write_mp4
from providers.media.subprocess_worker import ReportProgress, serve_request
from providers.media.subtitles import format_srt
from providers.media.video_frames import blend_frames, create_frame, read_frames
from providers.renders.manifest import ClipSpan, Manifest, build_timeline

METADATA_COMMENT = "AI-generated content. Made with MyloWare."
MAX_BITRATE = 24_000_000
MAX_CRF = 42


def render_film(
    manifest: Manifest,
    clips: Sequence[Path],
    target: Path,
    progress: ReportProgress = lambda _: None,
    sounds: Mapping[str, Path] = MappingProxyType({}),
) -> float:
    """Render the film to `target` (an MP4) and return its loudness in LUFS.

    `clips` are the manifest's files in order, `sounds` its other files by digest; `progress` is called with 0..1. The
    same manifest and files give the same bytes. Frames are streamed: memory does not grow with the length of the film.

    Raises Refused for an invalid manifest, and InvalidClip when a clip cannot be decoded.
    """
    spans = build_timeline(manifest)
    mix = add_sounds(mix_clips(manifest, clips), manifest, sounds)
    audio, lufs = master_audio(mix, lufs=manifest.loudness_lufs)
    spec, texts = _describe_film(manifest), text_track(manifest, time_narrations(manifest, sounds))
    max_bytes = int(min(MAX_FILM_BYTES * 0.95, MAX_BITRATE / 8 * manifest.seconds))
    for crf in range(DEFAULT_CRF, MAX_CRF + 1, 6):
        # Only films of noise need a higher CRF, and only in noise is the lower quality visible.
        frames = _compose_frames(manifest, spans, clips, spec, progress)
        limit = max_bytes if crf < MAX_CRF else None
        with contextlib.suppress(FilmTooLarge):
            write_mp4(target, frames, audio, spec, crf=crf, max_bytes=limit, comment=METADATA_COMMENT, text_track=texts)
            break
    return lufs


def _describe_film(manifest: Manifest) -> FilmSpec:
    return FilmSpec(manifest.seconds, manifest.width, manifest.height, manifest.fps, manifest.loudness_lufs)


def _compose_frames(
    manifest: Manifest, spans: list[ClipSpan], clips: Sequence[Path], spec: FilmSpec, report: ReportProgress
) -> Iterator[VideoFrame]:
    """Yield the frames of the film; at most two clips are open at a time."""
    texts = FilmTexts(manifest)
    streams: dict[int, Iterator[VideoFrame]] = {}
    for frame in range(spans[-1].end_frame):
        visible = [number for number, span in enumerate(spans) if span.first_frame <= frame < span.end_frame]
        streams = {n: streams.get(n) or _read_clip(manifest, clips[n], spans[n].frames, spec) for n in visible}
        canvas = create_frame(manifest.width, manifest.height)
        bottom, *top = map(next, streams.values())
        blend_frames(canvas, bottom, top[0] if top else None, spans[visible[-1]].crossfade_weight(frame))
        texts.draw(canvas, frame)
        yield canvas
        report((frame + 1) / spans[-1].end_frame)


def _read_clip(manifest: Manifest, clip: Path, frames: int, spec: FilmSpec) -> Iterator[VideoFrame]:
    pictures = read_frames(clip, frames, spec)
    return push_in(pictures, frames, spec.fps) if manifest.look.movement else pictures


def check_render(manifest: Manifest, film: Path, lufs: float, text: str, notices: Sequence[str] = ()) -> Json:
    """Check a rendered film of this loudness against the delivery rules, and `text` for characters without a glyph.

    `notices` are further sentences for the reviewer.

    The result has `errors`, the rules that reject the film, and `facts`: seconds, width, height, fps, codec, lufs (None
    for silence), size_bytes, checks, the observed values by rule, warnings, the failed rules that do not reject the
    film, and notices, which are sentences for the reviewer.
    """
    results = check_film(film, _describe_film(manifest))
    if missing := find_missing_glyphs(text):
        results.append(RuleResult("overlay", False, f"left out {''.join(sorted(missing))}", "warning"))
    is_quiet = any(result.rule == "loudness" and not result.ok for result in results)
    quiet = f"The film has {lufs:.1f} LUFS instead of {manifest.loudness_lufs:g}: it cannot be louder without clipping."
    facts = {
        "seconds": round(build_timeline(manifest)[-1].end_frame / manifest.fps, 3),
        **manifest.model_dump(include={"width", "height", "fps"}),
        "codec": "h264",
        "lufs": round(lufs, 2) if lufs > SILENCE_LUFS else None,
        "size_bytes": film.stat().st_size,
        "checks": {result.rule: str(result.observed) for result in results},
        "warnings": [str(result) for result in results if not result.ok and result.severity == "warning"],
        "notices": [*([quiet] if is_quiet else []), *notices],
    }
    return {"errors": list(map(str, failed_errors(results))), "facts": facts}


def _handle_request(request: Json, report_progress: ReportProgress) -> Json:
    """Render `film.mp4` in the work folder, or master the `rendered.mp4` of a service; sign it, and check it.

    The result has its `subtitles` as well.
    """
    manifest, film = Manifest.model_validate(request["manifest"]), Path(request["work_dir"], "film.mp4")
    texts = [clip.overlay for clip in manifest.clips]
    sounds = {digest: Path(path) for digest, path in request.get("sounds", {}).items()}
    if "clips" not in request or manifest.look.is_any:
        texts += [manifest.title, *manifest.props.values()]
    narrations = time_narrations(manifest, sounds)
    if "clips" in request:
        clips, track = [Path(clip) for clip in request["clips"]], text_track(manifest, narrations)
        lufs = render_film(manifest, clips, film, lambda share: report_progress(share * 0.9), sounds)
    else:
        rendered, track = film.with_name("rendered.mp4"), text_track(manifest.with_look_of_composition(), narrations)
        audio = add_sounds(decode_audible(rendered, track.seconds), manifest, sounds)
        aac_packets, lufs = master_audio(audio, lufs=manifest.loudness_lufs)
        replace_audio(rendered, aac_packets, film, comment=METADATA_COMMENT, text_track=track)
        report_progress(0.5)
    mark = _sign(film, manifest, request["signing"]) if "signing" in request else {}
    report = check_render(manifest, film, lufs, "".join(texts), describe_overrun(manifest, narrations))
    return {**report, "facts": {**report["facts"], **mark}, "subtitles": format_srt(track.texts)}


def _sign(film: Path, manifest: Manifest, signing: Json) -> Json:
    """Sign the film and return its mark as the fact `c2pa`. Raises Unusable."""
    # Here, because a film without a signature does not need the library.
    from providers.media.certificates import SigningKey
    from providers.media.provenance import sign_film

    clips = [Path(clip) for clip in signing["clips"]]
    return {"c2pa": sign_film(film, manifest, clips, SigningKey(**signing["key"])).model_dump()}


if __name__ == "__main__":
    serve_request(_handle_request)
