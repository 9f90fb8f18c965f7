"""Admin API: charges, posts and their pages, webhook deliveries, fault injection and timing.

Each page is marked as a preview of the sandbox that was not published.
"""

import hashlib
import html
import json
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from sandbox.faults import FAULTS, FaultQueue
from sandbox.routing import Routes, build_router
from sandbox.store import Store

#: The views of what can be listed, oldest first.
LISTS = {"charges": "listed_charges", "speech": "speech", "posts": "listed_posts", "deliveries": "listed_deliveries"}
JSON_COLUMNS = ("flags", "platforms", "body")
PAGE_TEMPLATE = Path(__file__).with_name("post_page.html").read_text("utf-8")


class FaultRequest(BaseModel):
    """Request to inject a fault; the parameters of the fault are further fields of the same object."""

    model_config = ConfigDict(extra="allow")

    fault: str
    times: int | None = Field(1, ge=1)


class Pace(BaseModel):
    """Minimum duration of a video job and retention time of its content, both in seconds."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(0, ge=0)
    keep_seconds: float = Field(3600, ge=0)


class AdminApi:
    """Handlers of `/health` and `/sandbox`; they require no API key because the sandbox listens on loopback."""

    def __init__(self, store: Store, faults: FaultQueue) -> None:
        self._store, self._faults = store, faults
        routes: Routes = {
            "GET /health": self.get_health,
            "GET /sandbox/counts": self.get_counts,
            **{f"GET /sandbox/{name}": partial(self.list_rows, view) for name, view in LISTS.items()},
            "GET /sandbox/posts/{request_id}/video": self.get_post_video,
            "GET /sandbox/posts/{request_id}/{platform}": self.get_post,
            "POST /sandbox/faults": self.inject_fault,
            "GET /sandbox/faults": self.list_faults,
            "DELETE /sandbox/faults": self.clear_faults,
            "POST /sandbox/pace": self.set_pace,
        }
        self.router = build_router("", routes)

    async def get_health(self) -> dict[str, str]:
        """Return the status and the name of the service."""
        return {"status": "ok", "service": "sandbox"}

    async def get_counts(self) -> dict[str, Any]:
        """Return totals of charges, posts, duplicate prompts and videos by status."""
        [totals] = self._store.fetch_all("SELECT * FROM totals")
        return {**dict(totals), "videos": dict(map(tuple, self._store.fetch_all("SELECT * FROM video_states")))}

    async def list_rows(self, view: str) -> list[dict[str, Any]]:
        """Return the rows of a view, with the values of the columns of JSON."""
        rows = [dict(row) for row in self._store.fetch_all(f"SELECT * FROM {view}")]  # noqa: S608 - one of LISTS
        return [row | {name: json.loads(row[name]) for name in JSON_COLUMNS if name in row} for row in rows]

    async def inject_fault(self, fields: FaultRequest) -> Response:
        """Queue a fault from `{"fault": name, "times": k, ...parameters}`; `times` null keeps it until cleared."""
        try:
            fault = self._faults.inject(fields.fault, fields.times, fields.model_extra or {})
        except ValueError as error:
            return JSONResponse({"error": {"code": "unknown_fault", "message": str(error)}}, 422)
        return JSONResponse(fault, 201)

    async def list_faults(self) -> dict[str, Any]:
        """Return the pending faults and the faults that can be injected."""
        return {"faults": self._faults.list_pending(), "known": FAULTS}

    async def clear_faults(self, fault: str | None = None) -> dict[str, int]:
        """Remove all pending faults, or those of one name, and return their number."""
        return {"cleared": self._faults.clear(fault)}

    async def set_pace(self, pace: Pace) -> Pace:
        """Set the minimum duration and the content retention of the videos created from now on."""
        self._store.set_setting("min_job_seconds", str(pace.seconds))
        self._store.set_setting("content_ttl_seconds", str(pace.keep_seconds))
        return pace

    async def get_post(self, request_id: str, platform: str) -> Response:
        """Return the page of a post on one platform."""
        post = self._store.fetch_one("SELECT * FROM posts WHERE request_id = ?", request_id)
        if post is None:
            raise HTTPException(404, "Post not found.")
        fields = {"platform": platform, "profile": post["profile"], "title": post["title"], "request_id": request_id}
        return HTMLResponse(PAGE_TEMPLATE.format(**{name: html.escape(text) for name, text in fields.items()}))

    async def get_post_video(self, request_id: str) -> Response:
        """Return the uploaded video of a post."""
        name = hashlib.sha256(request_id.encode()).hexdigest()
        path = self._store.folder / "posts" / f"{name}.mp4"
        if not path.exists():
            raise HTTPException(404, "The post has no video file; it was uploaded by URL.")
        return FileResponse(path, media_type="video/mp4")
