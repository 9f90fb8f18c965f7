"""Validate delivered clips and convert them for use in a film."""

import os
from pathlib import Path

from providers.base import InvalidClip
from providers.media.subprocess_client import create_work_folder, intake_errors, run_in_subprocess
from providers.results import Succeeded

MAX_CLIP_BYTES = 64 * 1024 * 1024
LIMIT_SECONDS = 300.0


async def accept_clip(
    path: Path, *, seconds: float, width: int, height: int, into: Path, limit_seconds: float = LIMIT_SECONDS
) -> Succeeded:
    """Decode the delivered file completely and return it as a clip of this length (seconds) and size (pixels).

    A file that conforms is kept byte for byte; any other is re-encoded according to its time stamps and edit lists.
    New files are written to the folder `into`; `path` is never changed.
    The facts are those of `clip_intake.ingest_clip`.

    Raises InvalidClip when the file cannot be used, Unavailable when it could not be checked now.
    """
    size = path.stat().st_size
    if size > MAX_CLIP_BYTES:
        raise InvalidClip("clip_too_large", f"The clip has {size // 2**20} MiB; {MAX_CLIP_BYTES // 2**20} are allowed.")
    request = {"path": str(path.resolve()), "spec": {"seconds": seconds, "width": width, "height": height}}
    with create_work_folder(into) as folder:
        with intake_errors("clip", InvalidClip, slow="clip_too_large", corrupt="clip_corrupt"):
            module = "providers.media.clip_intake"
            facts = await run_in_subprocess(module, request, work_dir=folder, limit_seconds=limit_seconds)
        if facts["how"] == "kept":
            return Succeeded(path, facts=dict(facts))
        file = into / f"{path.stem}-{facts['how']}.mp4"
        os.replace(folder / "clip.mp4", file)
        return Succeeded(file, path, dict(facts))
