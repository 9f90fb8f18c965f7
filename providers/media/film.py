"""A manifest and its clips become one film."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from providers.media import leash, picture
from providers.media.conform import MAX_BYTES, Finding, final_video_conforms
from providers.media.loudness import RATE, SILENT_LUFS, Sound
from providers.media.overlay import drawable, layer
from providers.media.sound import mastered, silence, sound_of
from providers.media.timeline import Cut, timeline
from providers.media.writer import CRF, TooManyBytes, write_mp4
from providers.renders.manifest import Manifest

COMMENT = "AI-generated content. Made with MyloWare."
MAX_BIT_RATE = 24_000_000
COARSEST_CRF = 42
_SOFT_START = RATE // 100


def render(
    manifest: Manifest, clips: Sequence[Path], target: Path, progress: Callable[[float], None] = lambda _: None
) -> float:
    """Render the film to `target` (an MP4). `clips` are the manifest's files in order, `progress` hears 0..1.

    The same manifest and files make the same bytes. Pictures are streamed: memory does not grow with length.
    Returns the film's loudness in LUFS.

    Raises BadManifest, and BadClip where a clip cannot be decoded.
    """
    cuts = timeline(manifest)
    sound, lufs = mastered(_mixed(manifest, cuts, clips), lufs=manifest.loudness_lufs)
    total = cuts[-1].end

    def counted() -> Iterator[VideoFrame]:
        for number, frame in enumerate(_composed(manifest, cuts, clips)):
            yield frame
            progress((number + 1) / total)

    most = int(min(MAX_BYTES * 0.95, MAX_BIT_RATE / 8 * manifest.seconds))
    for crf in range(CRF, COARSEST_CRF + 1, 6):
        # The next try is seen as coarser only where the picture is noise; no other film needs one.
        with contextlib.suppress(TooManyBytes):
            write_mp4(
                target,
                counted(),
                sound,
                width=manifest.width,
                height=manifest.height,
                fps=manifest.fps,
                crf=crf,
                max_bytes=most if crf < COARSEST_CRF else None,
                comment=COMMENT,
            )
            break
    return lufs


def _mixed(manifest: Manifest, cuts: list[Cut], clips: Sequence[Path]) -> Sound:
    """The clips' sounds, each fading into the next at even power."""
    mix = silence(cuts[-1].end / manifest.fps)
    for cut, clip in zip(cuts, clips, strict=True):
        sound = sound_of(clip, cut.frames / manifest.fps)
        _fade(sound, cut.fade_in / manifest.fps)
        _fade(sound[:, ::-1], cut.fade_out / manifest.fps)
        start = round(cut.first / manifest.fps * RATE)
        room = mix[:, start : start + sound.shape[1]]
        room += sound[:, : room.shape[1]]
    return mix


def _fade(sound: Sound, seconds: float) -> None:
    """Let the sound come up from nothing, in place; a hard cut still gets 10 ms against the click."""
    samples = min(max(round(seconds * RATE), _SOFT_START), sound.shape[1])
    sound[:, :samples] *= np.sin(np.linspace(0, math.pi / 2, samples, dtype=np.float32))


def _composed(manifest: Manifest, cuts: list[Cut], clips: Sequence[Path]) -> Iterator[VideoFrame]:
    """The film's pictures, one by one; at most two clips are open at a time."""
    texts = [layer(clip.overlay, manifest.width, manifest.height) for clip in manifest.clips]
    running: dict[int, Iterator[VideoFrame]] = {}
    for frame in range(cuts[-1].end):
        seen = [number for number, cut in enumerate(cuts) if cut.first <= frame < cut.end]
        running = {number: running.get(number) or _opened(manifest, cuts, clips, number) for number in seen}
        canvas = picture.blank(manifest.width, manifest.height)
        under, *over = [next(running[number]) for number in seen]
        picture.blend(canvas, under, over[0] if over else None, cuts[seen[-1]].share(frame))
        for number in seen:
            text, opacity = texts[number], cuts[number].text_share(frame)
            if text is not None and opacity > 0:
                picture.write(canvas, text, opacity)
        yield canvas


def _opened(manifest: Manifest, cuts: list[Cut], clips: Sequence[Path], number: int) -> Iterator[VideoFrame]:
    return picture.pictures(
        clips[number],
        frames=cuts[number].frames,
        fps=manifest.fps,
        width=manifest.width,
        height=manifest.height,
    )


def _make(order: leash.Order, progress: leash.Progress) -> dict[str, Any]:
    """The order of a child: render, then look at what came out."""
    manifest = Manifest.model_validate(order["manifest"])
    target = Path(order["target"])
    lufs = render(manifest, [Path(clip) for clip in order["clips"]], target, lambda share: progress(share * 0.9))
    findings = final_video_conforms(
        target,
        seconds=manifest.seconds,
        width=manifest.width,
        height=manifest.height,
        fps=manifest.fps,
        lufs=manifest.loudness_lufs,
    )
    left_out = sorted({letter for clip in manifest.clips for letter in set(clip.overlay) - set(drawable(clip.overlay))})
    if left_out:
        findings.append(Finding("overlay", False, f"left out {''.join(left_out)}", "warning"))
    return {
        "findings": [asdict(finding) for finding in findings],
        "lufs": round(lufs, 2) if lufs > SILENT_LUFS else None,
        "seconds": round(timeline(manifest)[-1].end / manifest.fps, 3),
    }


if __name__ == "__main__":
    leash.work(_make)
