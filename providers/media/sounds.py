"""Sounds: audio files that are mixed into films, checked in a subprocess and stored without loss."""

import os
from pathlib import Path

from providers.base import Json, ProviderError, Unavailable
from providers.media.subprocess_client import SubprocessDied, create_work_folder, run_in_subprocess

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
        try:
            request = {"path": str(path.resolve())}
            module = "providers.media.sound_intake"
            facts = await run_in_subprocess(module, request, work_dir=folder, limit_seconds=limit_seconds)
        except TimeoutError as error:
            raise InvalidSound("audio_too_long", "The audio takes too long to decode.") from error
        except SubprocessDied as error:
            if error.is_crash:
                raise InvalidSound("audio_invalid", "The audio crashes the decoder.") from error
            message = "The audio could not be checked; try again."
            raise Unavailable("audio_not_judged", message) from error
        except Unavailable:
            raise
        except ProviderError as error:
            raise InvalidSound(error.code, error.message) from error
        file = into / f"{path.stem}.flac"
        os.replace(folder / "sound.flac", file)
        return file, facts
