"""Validate delivered clips and convert them for use in a film."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.base import ProviderError, Unavailable
from providers.media.errors import InvalidClip
from providers.media.mp4_boxes import read_layout
from providers.media.subprocess_client import SubprocessDied, run_in_subprocess

__all__ = ["AcceptedClip", "InvalidClip", "accept_clip"]

MAX_CLIP_BYTES = 64 * 1024 * 1024
LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class AcceptedClip:
    """A clip that can be used in a film.

    `original` is the file as delivered if `file` was derived from it, else None. `facts` are those of
    `clip_intake.ClipFacts`.
    """

    file: Path
    original: Path | None
    facts: dict[str, Any]


async def accept_clip(
    path: Path, *, seconds: float, width: int, height: int, into: Path, limit_seconds: float = LIMIT_SECONDS
) -> AcceptedClip:
    """Decode the delivered file completely and return it as a clip of this length (seconds) and size (pixels).

    A file that conforms is kept byte for byte. Container faults are repaired by remuxing, without a change to the
    frames; other formats are re-encoded. New files are written to the folder `into`; `path` is never changed.

    Raises InvalidClip when the file cannot be used, Unavailable when it could not be checked now.
    """
    size = path.stat().st_size
    if size > MAX_CLIP_BYTES:
        raise InvalidClip("clip_too_large", f"The clip has {size // 2**20} MiB; {MAX_CLIP_BYTES // 2**20} are allowed.")
    read_layout(path)  # rejects most invalid files without starting a subprocess
    work_dir = Path(tempfile.mkdtemp(prefix=".clip-", dir=into.resolve()))
    converted = work_dir / "clip.mp4"
    request = {
        "path": str(path.resolve()),
        "target": str(converted),
        "seconds": seconds,
        "width": width,
        "height": height,
    }
    try:
        facts = await run_in_subprocess(
            "providers.media.clip_intake", request, work_dir=work_dir, limit_seconds=limit_seconds
        )
        if facts["how"] == "kept":
            return AcceptedClip(path, None, dict(facts))
        file = into / f"{path.stem}-{facts['how']}.mp4"
        os.replace(converted, file)
        return AcceptedClip(file, path, dict(facts))
    except TimeoutError as error:
        raise InvalidClip("clip_too_large", "The clip takes too long to decode.") from error
    except SubprocessDied as error:
        raise _explain_death(error) from error
    except ProviderError as error:
        raise InvalidClip(error.code, error.message) from error
    finally:
        shutil.rmtree(work_dir, ignore_errors=True)


def _explain_death(error: SubprocessDied) -> InvalidClip | Unavailable:
    if error.signal in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS, signal.SIGILL):
        return InvalidClip("clip_corrupt", "The clip crashes the decoder.")
    if error.signal == signal.SIGXCPU:
        return InvalidClip("clip_too_large", "The clip takes too long to decode.")
    return Unavailable("clip_not_judged", "The clip could not be checked; the check will be retried.")
