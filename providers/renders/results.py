"""The work of a render on this machine, the same for every renderer."""

import os
from pathlib import Path

from providers.base import Json, Progress, Unavailable
from providers.media.subprocess_client import SubprocessDied, run_in_subprocess
from providers.results import Failed, Succeeded


async def make_film(
    request: Json, folder: Path, film: Path, *, renderer: str, limit_seconds: float, progress: Progress
) -> Failed | Succeeded:
    """Run `providers.media.film` in the work folder, and move its film to `film` if it conforms to the delivery rules.

    Raises Unavailable when the work was interrupted, and the ProviderError of the subprocess.
    """
    try:
        result = await run_in_subprocess(
            "providers.media.film", request, work_dir=folder, limit_seconds=limit_seconds, progress=progress
        )
    except (TimeoutError, SubprocessDied) as error:
        if isinstance(error, SubprocessDied) and error.is_crash:
            return Failed("media_failed", "The program that renders the film crashes; the log has the details.")
        message = "The render was interrupted or took too long."
        raise Unavailable("render_interrupted", message) from error
    if result["errors"]:
        return Failed("film_not_conformant", f"The film fails the delivery rules: {'; '.join(result['errors'])}.")
    os.replace(folder / "film.mp4", film)
    return Succeeded(film, facts={**result["facts"], "renderer": renderer})
