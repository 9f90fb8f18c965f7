"""Validate a delivered file and convert it to a clip: the subprocess of `clips.accept_clip`."""

from pathlib import Path

from providers.base import Json
from providers.media import subprocess_worker
from providers.media.audio import decode_audio, encode_aac
from providers.media.conformance import FilmSpec, check_format
from providers.media.errors import InvalidClip
from providers.media.loudness import SILENCE_LUFS, measure_loudness
from providers.media.mp4_writer import write_mp4
from providers.media.probe import decode_video, open_mp4, read_layout
from providers.media.video_frames import read_frames

FPS = 30
#: Seconds that a clip may be too short: a film repeats its last frame for that long.
MAX_MISSING_SECONDS = 0.25
#: Seconds that a clip may be too long: the excess is cut off.
MAX_EXCESS_SECONDS = 1.0
MAX_CLIP_SECONDS = 60


def ingest_clip(path: Path, target: Path, *, seconds: float, width: int, height: int) -> Json:
    """Check the file, and write a clip of this length (seconds) and size (pixels) to `target` unless it is one already.

    The facts are seconds, width, height, fps, codec, audio (None without), frames, lufs (None for silence), how ("kept"
    when the delivered file is used as it is, else "re-encoded"), and warnings: of "black", "frozen" and "silent".

    Raises InvalidClip.
    """
    layout = read_layout(path)
    with open_mp4(path) as container:
        decoded, has_audio = decode_video(container, max_seconds=MAX_CLIP_SECONDS), bool(container.streams.audio)
        spec = FilmSpec(seconds, width, height, FPS, h264_profiles=("High", "Main", "Constrained Baseline"))
        is_exact = all(rule.ok for rule in check_format(container, layout, decoded, spec))
    if not seconds - MAX_MISSING_SECONDS <= decoded.seconds <= seconds + MAX_EXCESS_SECONDS:
        raise InvalidClip("clip_wrong_length", f"The clip lasts {decoded.seconds:.2f} s instead of {seconds:g} s.")
    is_kept = is_exact and decoded.seconds <= seconds + MAX_MISSING_SECONDS
    frames = decoded.frames if is_kept else round(min(decoded.seconds, seconds) * FPS)
    audio = decode_audio(path, frames / FPS)
    if not is_kept:
        write_mp4(target, read_frames(path, frames, spec), encode_aac(audio), spec)
    lufs = measure_loudness(audio)
    warnings = {"black": decoded.is_mostly_black, "frozen": decoded.is_frozen, "silent": lufs <= SILENCE_LUFS}
    return {
        "seconds": round(frames / FPS, 3),
        "width": width,
        "height": height,
        "fps": FPS,
        "codec": "h264",
        "audio": "aac" if has_audio or not is_kept else None,
        "frames": frames,
        "lufs": round(lufs, 1) if lufs > SILENCE_LUFS else None,
        "how": "kept" if is_kept else "re-encoded",
        "warnings": [warning for warning, is_set in warnings.items() if is_set],
    }


def _handle_request(request: Json, _: subprocess_worker.ReportProgress) -> Json:
    return ingest_clip(Path(request["path"]), Path(request["work_dir"], "clip.mp4"), **request["spec"])


if __name__ == "__main__":
    subprocess_worker.serve_request(_handle_request)
