"""HTML pages of the uploaded posts, each marked as a sandbox preview that was not published."""

import hashlib
import html

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, Response

from sandbox.store import Row, Store

PAGE_TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>SANDBOX post</title>
<style>
  body {{ margin: 0 auto; max-width: 26rem; padding: 1rem; font: 1rem/1.5 system-ui; background: #14121a; color: #eee }}
  strong {{ color: #ffb454 }} video {{ width: 100%; border-radius: .75rem; background: #000 }}
</style>
<p><strong>SANDBOX</strong> · Nothing was published. Preview of the post on {platform} as {profile}.</p>
<video controls playsinline src="/sandbox/posts/{request_id}/video"></video>
<p>{title}</p>
</html>
"""


class PostPages:
    """Handlers of the post pages."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> APIRouter:
        """Return the router of the post pages."""
        router = APIRouter(prefix="/sandbox/posts")
        router.add_api_route("/{request_id}/video", self.get_video, methods=["GET"])
        router.add_api_route("/{request_id}/{platform}", self.get_page, methods=["GET"])
        return router

    async def get_page(self, request_id: str, platform: str) -> Response:
        """Return the page of a post on one platform."""
        post = self._fetch(request_id)
        fields = {"platform": platform, "profile": post["profile"], "title": post["title"], "request_id": request_id}
        return HTMLResponse(PAGE_TEMPLATE.format(**{name: html.escape(text) for name, text in fields.items()}))

    async def get_video(self, request_id: str) -> Response:
        """Return the uploaded video of a post."""
        self._fetch(request_id)
        name = hashlib.sha256(request_id.encode()).hexdigest()
        path = self._store.folder / "posts" / f"{name}.mp4"
        if not path.exists():
            raise HTTPException(404, "The post has no video file; it was uploaded by URL.")
        return FileResponse(path, media_type="video/mp4")

    def _fetch(self, request_id: str) -> Row:
        post = self._store.fetch_one("SELECT * FROM posts WHERE request_id = ?", request_id)
        if post is None:
            raise HTTPException(404, "Post not found.")
        return post
