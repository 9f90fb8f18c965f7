"""Sounds: audio files that are mixed into films, checked in a subprocess and stored without loss."""

import os
from pathlib import Path

from providers.base import Json, ProviderError
from providers.media.subprocess_client import create_work_folder, intake_errors, run_in_subprocess

#: The kind of the stored sounds, and the type of all of them: FLAC of 48 kHz in stereo.
KIND, MEDIA_TYPE = "audio", "audio/flac"
LIMIT_SECONDS = 120.0


class InvalidSound(ProviderError):
    """The file cannot be used as a sound. The code is `audio_invalid`, `audio_too_long` or `audio_too_short`."""


async def accept_sound(path: Path, *, into: Path, limit_seconds: float = LIMIT_SECONDS) -> tuple[Path, Json]:
    """Decode an audio file completely and write it to the folder `into` as a stored sound, without its metadata.

    Return the new file and its facts: seconds and lufs (None for silence). Raises InvalidSound when the file cannot be
    used, Unavailable when it could not be checked now.
    """
    with create_work_folder(into) as folder:
        with intake_errors("audio", InvalidSound, slow="audio_too_long", corrupt="audio_invalid"):
            module, request = "providers.media.sound_intake", {"path": str(path.resolve())}
            facts = await run_in_subprocess(module, request, work_dir=folder, limit_seconds=limit_seconds)
        file = into / f"{path.stem}.flac"
        os.replace(folder / "sound.flac", file)
        return file, facts
