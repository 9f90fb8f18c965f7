"""A clip that was delivered: checked to its last sample, and made fit for a film."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.base import ProviderError, Unavailable
from providers.media.boxes import shape
from providers.media.child import ChildDied, ask
from providers.media.errors import BadClip

__all__ = ["AcceptedClip", "BadClip", "accept_clip"]

MAX_BYTES = 64 * 1024 * 1024
LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class AcceptedClip:
    """A clip a film can be made of.

    `original` is the file as delivered where `file` was made from it, else None. `facts`: seconds, width,
    height, fps, codec, audio (None where there is none), frames, lufs (None for silence), how ("kept",
    "remuxed" or "re-encoded") and warnings (of "black", "frozen" and "silent").
    """

    file: Path
    original: Path | None
    facts: dict[str, Any]


async def accept_clip(
    path: Path, *, seconds: float, width: int, height: int, into: Path, limit_seconds: float = LIMIT_SECONDS
) -> AcceptedClip:
    """The delivered file as a clip of this length (seconds) and size (pixels).

    A file that conforms is kept as it is, byte for byte. Faults of the container are mended without touching
    the picture; other pictures are coded anew into the folder `into`. `path` itself is never changed.

    Raises BadClip when it cannot be used, Unavailable when it could not be judged now.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadClip("clip_too_large", f"The clip has {size // 2**20} MiB; {MAX_BYTES // 2**20} are allowed.")
    shape(path)  # refuses most rubbish without starting a child for it
    work = Path(tempfile.mkdtemp(prefix=".clip-", dir=into.resolve()))
    made = work / "clip.mp4"
    order = {"path": str(path.resolve()), "target": str(made), "seconds": seconds, "width": width, "height": height}
    try:
        facts = await ask("providers.media.intake", order, work=work, limit_seconds=limit_seconds)
        if facts["how"] == "kept":
            return AcceptedClip(path, None, facts)
        file = into / f"{path.stem}-{facts['how']}.mp4"
        os.replace(made, file)
        return AcceptedClip(file, path, facts)
    except TimeoutError as error:
        raise BadClip("clip_too_large", "The clip takes too long to decode.") from error
    except ChildDied as error:
        if error.signal in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS, signal.SIGILL):
            raise BadClip("clip_corrupt", "The clip breaks the decoder.") from error
        if error.signal == signal.SIGXCPU:
            raise BadClip("clip_too_large", "The clip takes too long to decode.") from error
        raise Unavailable("clip_not_judged", "The clip could not be judged; it will be tried again.") from error
    except ProviderError as error:
        raise BadClip(error.code, error.message) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
