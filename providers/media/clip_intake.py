"""Validate a delivered file and convert it to a clip: the subprocess of `intake.accept_clip`."""

from pathlib import Path

from av.video.stream import VideoStream

from providers.base import InvalidClip, Json
from providers.media import subprocess_worker
from providers.media.audio import SILENCE_LUFS, decode_audio, encode_aac, measure_loudness, remove_subsonic
from providers.media.conformance import FilmSpec, check_format
from providers.media.mp4_writer import write_mp4
from providers.media.probe import DecodedVideo, decode_video, open_mp4, read_layout, select_video_stream
from providers.media.video_frames import HDR_TRANSFERS, read_frames

FPS = 30
#: A clip has the length that was ordered within this: a film repeats its last frame, or cuts it, without a warning.
LENGTH_TOLERANCE_SECONDS = 0.1
#: The share of the picture that is cropped without a warning.
CROP_TOLERANCE = 0.05
MAX_CLIP_SECONDS = 60


def ingest_clip(path: Path, target: Path, *, seconds: float, width: int, height: int) -> Json:
    """Check the file, and write a clip of this length (seconds) and size (pixels) to `target` unless it is one already.

    A longer file is cut. A shorter one, down to half the length, is a shorter clip.
    The facts are seconds, width, height, fps, codec, audio (None without), frames, lufs (None for silence), how ("kept"
    when the delivered file is used as it is, else "re-encoded"), warnings, which are sentences for the reviewer, and
    delivered: what was measured of the file.

    Raises InvalidClip.
    """
    layout = read_layout(path)
    with open_mp4(path) as container:
        decoded, has_audio = decode_video(container, max_seconds=MAX_CLIP_SECONDS), bool(container.streams.audio)
        profiles = ("High", "Main", "Constrained Baseline")
        spec = FilmSpec(seconds, width, height, FPS, h264_profiles=profiles, text_tracks=0)
        results = list(check_format(container, layout, decoded, spec))
        warnings = _find_faults(select_video_stream(container), decoded, spec)
    excess = decoded.seconds - seconds
    length = f"It lasts {decoded.seconds:.2f} s instead of {seconds:g} s"
    if decoded.seconds < seconds / 2 - 0.001:
        raise InvalidClip("clip_wrong_length", f"{length.replace('It', 'The clip', 1)}; at least half is needed.")
    warnings[f"{length}, and was cut."] = excess > LENGTH_TOLERANCE_SECONDS
    warnings[f"{length}, so the film is shorter."] = excess < -LENGTH_TOLERANCE_SECONDS
    is_kept = all(result.ok for result in results) and excess <= LENGTH_TOLERANCE_SECONDS
    frames = decoded.frames if is_kept else round(min(decoded.seconds, seconds) * FPS)
    audio = decode_audio(path, frames / FPS)
    if not is_kept:
        pictures = read_frames(path, frames, spec, is_interlaced=decoded.is_interlaced)
        write_mp4(target, pictures, encode_aac(audio), spec)
    lufs = measure_loudness(remove_subsonic(audio))
    warnings["It is silent."] = lufs <= SILENCE_LUFS
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
        "delivered": {"seconds": decoded.seconds, **{result.rule: str(result.observed) for result in results}},
    }


def _find_faults(video: VideoStream, decoded: DecodedVideo, spec: FilmSpec) -> dict[str, bool]:
    """Return sentences about faults of the picture, each with whether the file has it."""
    shape = float(video.codec_context.width * (video.sample_aspect_ratio or 1) / video.codec_context.height)
    change = (1 / shape if decoded.rotation % 180 else shape) * spec.height / spec.width
    cropped, hdr = 1 - min(change, 1 / change), HDR_TRANSFERS.get(video.color_trc)
    crop = f"{cropped:.0%} of its picture was cropped to the shape of {spec.width}x{spec.height}."
    return {
        crop: cropped > CROP_TOLERANCE,
        f"It was delivered in HDR ({hdr}), and its colours were converted.": hdr is not None,
        "It is black for more than a second or a tenth of its length.": decoded.is_mostly_black,
        "Its picture does not change for a second.": decoded.is_frozen,
    }


def _handle_request(request: Json, _: subprocess_worker.ReportProgress) -> Json:
    return ingest_clip(Path(request["path"]), Path(request["work_dir"], "clip.mp4"), **request["spec"])


if __name__ == "__main__":
    subprocess_worker.serve_request(_handle_request)
