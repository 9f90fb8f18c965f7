"""Take in files of others: delivered clips, and sounds to mix into films. A subprocess decodes each of them."""

import os
import signal
from pathlib import Path

from providers.base import Json, Unavailable, Unusable
from providers.media.subprocess_client import SubprocessDied, create_work_folder, run_in_subprocess
from providers.results import Succeeded

MAX_CLIP_BYTES = 64 * 1024 * 1024
#: The kind of the stored sounds, and the type of all of them: FLAC of 48 kHz in stereo.
SOUND_KIND, SOUND_TYPE = "audio", "audio/flac"


async def accept_clip(
    path: Path, *, seconds: float, width: int, height: int, into: Path, limit_seconds: float = 300.0
) -> Succeeded:
    """Decode the delivered file completely and return it as a clip of this length (seconds) and size (pixels).

    A file that conforms is kept byte for byte; any other is re-encoded according to its time stamps and edit lists.
    New files are written to the folder `into`; `path` is never changed.
    The facts are those of `clip_intake.ingest_clip`.

    Raises Unusable when the file cannot be used, Unavailable when it could not be checked now.
    """
    size = path.stat().st_size
    if size > MAX_CLIP_BYTES:
        raise Unusable("clip_too_large", f"The clip has {size // 2**20} MiB; {MAX_CLIP_BYTES // 2**20} are allowed.")
    request = {"path": str(path.resolve()), "spec": {"seconds": seconds, "width": width, "height": height}}
    with create_work_folder(into) as folder:
        facts = await _decode("clip", request, folder, limit_seconds, "clip_too_large", "clip_corrupt")
        if facts["how"] == "kept":
            return Succeeded(path, facts=dict(facts))
        file = into / f"{path.stem}-{facts['how']}.mp4"
        os.replace(folder / "clip.mp4", file)
        return Succeeded(file, path, dict(facts))


async def accept_sound(path: Path, *, into: Path, limit_seconds: float = 120.0) -> tuple[Path, Json]:
    """Decode an audio file completely and write it to the folder `into` as a stored sound, without its metadata.

    Return the new file and its facts: seconds and lufs (None for silence). Raises Unusable by `audio_invalid`,
    `audio_too_long` or `audio_too_short` when the file cannot be used, Unavailable when it could not be checked now.
    """
    with create_work_folder(into) as folder:
        request = {"path": str(path.resolve())}
        facts = await _decode("audio", request, folder, limit_seconds, "audio_too_long", "audio_invalid")
        file = into / f"{path.stem}.flac"
        os.replace(folder / "sound.flac", file)
        return file, facts


async def _decode(kind: str, request: Json, folder: Path, limit_seconds: float, slow: str, corrupt: str) -> Json:
    """Return the facts about a file of this kind. Raises Unusable, by these codes for a slow and a corrupt one."""
    module = f"providers.media.{kind}_intake"
    try:
        return await run_in_subprocess(module, request, work_dir=folder, limit_seconds=limit_seconds)
    except (TimeoutError, SubprocessDied) as error:
        if isinstance(error, TimeoutError) or error.signal == signal.SIGXCPU:
            raise Unusable(slow, f"The {kind} takes too long to decode.") from error
        if error.is_crash:
            raise Unusable(corrupt, f"The {kind} crashes the decoder.") from error
        raise Unavailable(f"{kind}_not_judged", f"The {kind} could not be checked; check it again.") from error
