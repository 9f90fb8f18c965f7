"""Posts: a small page for everything that was "published", which says plainly that it was not."""

import hashlib
import html

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, Response

from sandbox.store import Row, Store

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>SANDBOX post</title>
<style>
  body {{ margin: 0 auto; max-width: 26rem; padding: 1rem; font: 1rem/1.5 system-ui; background: #14121a; color: #eee }}
  strong {{ color: #ffb454 }} video {{ width: 100%; border-radius: .75rem; background: #000 }}
</style>
<p><strong>SANDBOX</strong> · nothing was published. This is what would be on {platform}, as {profile}.</p>
<video controls playsinline src="/sandbox/posts/{request_id}/video"></video>
<p>{title}</p>
</html>
"""


class Posts:
    """The pages of the posts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> APIRouter:
        """Their routes."""
        router = APIRouter(prefix="/sandbox/posts")
        router.add_api_route("/{request_id}/video", self.video, methods=["GET"])
        router.add_api_route("/{request_id}/{platform}", self.page, methods=["GET"])
        return router

    async def page(self, request_id: str, platform: str) -> Response:
        """The page of one post on one platform."""
        post = self._post(request_id)
        words = {"platform": platform, "profile": post["profile"], "title": post["title"], "request_id": request_id}
        return HTMLResponse(PAGE.format(**{name: html.escape(word) for name, word in words.items()}))

    async def video(self, request_id: str) -> Response:
        """The video that was uploaded."""
        self._post(request_id)
        name = hashlib.sha256(request_id.encode()).hexdigest()
        path = self._store.folder / "posts" / f"{name}.mp4"
        if not path.exists():
            raise HTTPException(404, "This post was made from a URL.")
        return FileResponse(path, media_type="video/mp4")

    def _post(self, request_id: str) -> Row:
        post = self._store.one("SELECT * FROM posts WHERE request_id = ?", request_id)
        if post is None:
            raise HTTPException(404, "No such post.")
        return post
