"""A publisher that needs nobody: it lays the film and its words into a folder on this machine."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from providers.base import (
    ArtifactChanged,
    ArtifactMissing,
    Failed,
    Files,
    Json,
    Progress,
    Refused,
    Succeeded,
    Unavailable,
)
from providers.publications.post import Post, id_of, read_post

DISCLOSURE = "This video was made with AI."


class Folder:
    """Publications as folders under `root`: `<task id>/film.mp4`, `caption.txt` and `post.json`."""

    name = "folder"
    lookup_window = timedelta(0)

    def __init__(self, root: Path, files: Files) -> None:
        self._root = root
        self._files = files

    async def submit(self, request: Json, *, key: str) -> str:
        """The id of the publication, always the same for `key`. Nothing is written before `look`.

        Raises Refused when the film is not the one that was kept.
        """
        try:
            await self._files.local_path(read_post(request).digest)
        except (ArtifactMissing, ArtifactChanged) as error:
            raise Refused(error.code, error.message) from error
        return id_of(request, key)

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """The id of the publication: placing it leaves no trace, so it can never be lost."""
        return [id_of(request, key)]

    def lookup_url(self, request: Json, *, key: str) -> str:
        """The folder that the film is laid into."""
        return str(self._root / id_of(request, key))

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> Failed | Succeeded:
        """Lay the publication down, whole or not at all, unless it lies there already.

        Raises Unavailable when the folder cannot be written.
        """
        post = read_post(request)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", task_id):
            return Failed("publication_lost", "This is not a publication of the folder.")
        place = self._root / task_id
        try:
            if not place.is_dir():
                film = await self._files.local_path(post.digest)
                await asyncio.to_thread(_lay, film, post, place)
        except (ArtifactMissing, ArtifactChanged) as error:
            return Failed(error.code, error.message)
        except OSError as error:
            raise Unavailable("folder_unwritable", "The folder for publications cannot be written.") from error
        return Succeeded(facts={"platforms": {"folder": {"url": f"{task_id}/film.mp4", "post_id": task_id}}})


def _lay(film: Path, post: Post, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=place.parent))
    try:
        draft.chmod(0o755)
        shutil.copyfile(film, draft / "film.mp4")
        (draft / "caption.txt").write_text(f"{post.text}\n\n{DISCLOSURE}\n", encoding="utf-8")
        told = {
            "title": post.title,
            "caption": post.caption,
            "hashtags": list(post.hashtags),
            "platforms": list(post.platforms),
            "digest": post.digest,
            "ai_generated": True,
            "disclosure": DISCLOSURE,
        }
        text = json.dumps(told, ensure_ascii=False, indent=2)
        (draft / "post.json").write_text(f"{text}\n", encoding="utf-8")
        try:
            draft.rename(place)
        except OSError:
            # Somebody else laid the same publication down in between.
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
