"""Copy films and clips out of the store."""

import asyncio
import re
import shutil
from pathlib import Path

from cli.output import exit_with_error
from runs.queries import RunView, check_kept
from runs.services import Services

MAX_TITLE_CHARACTERS = 40


async def copy_film(services: Services, run: RunView, folder: Path, path: Path | None = None) -> Path:
    """Copy the film to `path`, or to a file in `folder` named after its title, and return the path.

    Its subtitles are copied beside it. Raises RunPruned.
    """
    film = run.artifacts.get("final_video")
    if film is None:
        check_kept(run)
        exit_with_error(f"The run has no film: its status is {run.status}.")
    title = re.sub(r"[^a-z0-9]+", "-", run.artifacts["ideas"]["title"].lower()).strip("-")[:MAX_TITLE_CHARACTERS]
    path = path or folder / f"{title or run.project}-{str(run.run_id)[:8]}.mp4"
    await copy_file(services, film["digest"], path)
    if "subtitles_digest" in film:
        await copy_file(services, film["subtitles_digest"], path.with_suffix(".srt"))
    return path


async def copy_file(services: Services, digest: str, path: Path) -> None:
    """Copy a stored file to `path`. Exits with a message if it cannot be written."""
    source = await services.artifacts.local_path(digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(shutil.copyfile, source, path)
    except OSError as error:
        exit_with_error(f"{path} cannot be written: {error.strerror}.")
