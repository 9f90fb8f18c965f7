"""A publisher without a service: it writes the film and its texts to a folder on this machine."""

import asyncio
import json
import re
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from providers.base import Files, Json, Progress, Provider, Refused, disk_unwritable
from providers.publications.post import Post, id_of
from providers.results import Failed, Succeeded

DISCLOSURE = "This video was made with AI."


class Folder(Provider):
    """Publishes to folders under `root`: `<task id>/film.mp4`, `film.srt`, `caption.txt` and `post.json`."""

    name = "folder"
    lookup_window = timedelta(0)

    def __init__(self, root: Path, files: Files) -> None:
        self._root, self._files = root, files

    async def check(self) -> None:
        """Write a file to the folder and delete it. Raises Unavailable."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root) as file:
                file.write(b"probe")
        except OSError as error:
            raise disk_unwritable("MYLOWARE_PUBLISH_FOLDER", error) from error

    async def submit(self, request: Json, *, key: str) -> str:
        """Return the id, the same for the same key; `poll` writes. Raises Refused for a missing or changed film."""
        await self._files.local_path(Post.model_validate(request).digest)
        return id_of(request, key)

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the id of the publication: `submit` leaves no trace, so every order counts as placed."""
        return [id_of(request, key)]

    async def find_existing(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the id of the publication if it was written."""
        return [task_id] if (self._root / (task_id := id_of(request, key))).is_dir() else []

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the folder of the publication."""
        return str(self._root / id_of(request, key))

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> Failed | Succeeded:
        """Write the publication, completely or not at all, unless it exists already. Raises Unavailable."""
        post = Post.model_validate(request)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", task_id):
            return Failed("publication_lost", "The task id is not one of a publication in a folder.")
        folder = self._root / task_id
        try:
            if not folder.is_dir():
                film = await self._files.local_path(post.digest)
                subtitles = await self._files.local_path(post.subtitles) if post.subtitles else None
                await asyncio.to_thread(_write_publication, film, subtitles, post, folder)
        except Refused as error:
            return Failed(error.code, error.message)
        except OSError as error:
            raise disk_unwritable("MYLOWARE_PUBLISH_FOLDER", error) from error
        return Succeeded(facts={"platforms": {"folder": {"url": f"{task_id}/film.mp4", "post_id": task_id}}})


def _write_publication(film: Path, subtitles: Path | None, post: Post, folder: Path) -> None:
    if not folder.parent.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(0o755)  # published: unlike the data folder, it is for others to read
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent, ignore_cleanup_errors=True) as name:
        draft = Path(name)
        draft.chmod(0o755)
        shutil.copyfile(film, draft / "film.mp4")
        if subtitles:
            shutil.copyfile(subtitles, draft / "film.srt")
        (draft / "caption.txt").write_text(f"{post.text}\n\n{DISCLOSURE}\n", encoding="utf-8")
        description = {**post.model_dump(), "ai_generated": True, "disclosure": DISCLOSURE}
        text = json.dumps(description, ensure_ascii=False, indent=2)
        (draft / "post.json").write_text(f"{text}\n", encoding="utf-8")
        for path in draft.iterdir():
            path.chmod(0o644)
        try:
            draft.rename(folder)
        except OSError:
            # A concurrent call may have written the same publication.
            if not folder.is_dir():
                raise
