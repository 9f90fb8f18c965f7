"""Publishing: `/api` as Upload-Post speaks it; what is uploaded is kept, shown and never really published."""

import asyncio
import hashlib
import json
import time
import uuid
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import FormData

from sandbox.faults import Faults
from sandbox.store import Row, Store

PUBLISHING_SECONDS = 0.3
#: The header of the vendor and its aliases; the field `request_id` counts like the last.
KEY_HEADERS = ("idempotency-key", "x-idempotency-key", "x-request-id")
NOT_FLAGS = ("user", "platform[]", "platform", "video", "title", "request_id")


class Publishing:
    """The routes of the publisher."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults
        self._folder = store.folder / "posts"
        self._folder.mkdir(exist_ok=True)

    def routes(self) -> APIRouter:
        """Its routes."""
        router = APIRouter(prefix="/api")
        router.add_api_route("/upload", self.upload, methods=["POST"])
        router.add_api_route("/uploadposts/status", self.status, methods=["GET"])
        router.add_api_route("/uploadposts/history", self.history, methods=["GET"])
        router.add_api_route("/uploadposts/posts/retry", self.retry, methods=["POST"])
        return router

    async def upload(self, request: Request) -> Response:
        """Takes a video for some platforms. The same idempotency key is the same upload."""
        if (refusal := _without_key(request)) is not None:
            return refusal
        if limited := self._faults.take("upload_429"):
            return _limited(limited)
        if self._faults.happens("upload_500"):
            return _refusal(500, "internal_error", "Internal server error. (SANDBOX: an ordered fault.)")
        async with request.form() as form:
            platforms = [str(name) for key in ("platform[]", "platform") for name in form.getlist(key)]
            for field in ("user", "title", "video"):
                if not form.get(field):
                    return _refusal(400, "missing_field", f"The field {field} is missing.")
            if not platforms:
                return _refusal(400, "missing_field", "The field platform[] is missing.")
            key = next((value for name in KEY_HEADERS if (value := request.headers.get(name))), None)
            known = self._known(key, str(form.get("request_id", "")))
            if known is not None:
                return JSONResponse(_accepted(known))
            post = await self._keep(form, platforms, key)
        if hang := self._faults.take("upload_accept_then_timeout"):
            await asyncio.sleep(float(hang["seconds"]))
            return _refusal(504, "timeout", "Gateway timeout.")
        if str(form.get("async_upload", "")).lower() == "true":
            return JSONResponse(_accepted(post))
        await asyncio.sleep(max(0.0, post["ready_at"] - time.time()))
        results = {one["platform"]: one for one in self._results(post, str(request.base_url))}
        return JSONResponse({"success": True, "results": results, "usage": {"count": 1, "limit": 1000}})

    async def status(self, request: Request, request_id: str = "", job_id: str = "") -> Response:
        """How far an upload is; HTTP 200 does not mean published, the results tell."""
        if (refusal := _without_key(request)) is not None:
            return refusal
        post = self._post(request_id or job_id)
        if post is None:
            return JSONResponse({"success": False, "request_id": request_id, "status": "not_found"}, 404)
        results, total = self._results(post, str(request.base_url)), len(json.loads(post["results"]))
        body: dict[str, Any] = {"success": True, "request_id": post["request_id"], "total": total}
        if time.time() < post["ready_at"]:
            return JSONResponse(body | {"status": "in_progress", "completed": 0, "results": []})
        status = "completed" if any(one["success"] for one in results) else "failed"
        return JSONResponse(body | {"status": status, "completed": total, "results": results})

    async def history(self, request: Request, request_id: str = "") -> Response:
        """What was published, with its links."""
        if (refusal := _without_key(request)) is not None:
            return refusal
        posts = [self._post(request_id)] if request_id else self._store.all("SELECT * FROM posts")
        lines = [
            {
                "request_id": post["request_id"],
                "profile_username": post["profile"],
                "post_title": post["title"],
                "platform": one["platform"],
                "success": one["success"],
                "platform_post_id": one["post_id"],
                "post_url": one["url"],
                "error_message": one["error"],
                "upload_timestamp": post["created_at"],
            }
            for post in posts
            if post is not None and time.time() >= post["ready_at"]
            for one in self._results(post, str(request.base_url))
        ]
        return JSONResponse({"history": lines, "page": 1, "total": len(lines)})

    async def retry(self, request: Request) -> Response:
        """Publishes again where it failed, and nowhere else."""
        if (refusal := _without_key(request)) is not None:
            return refusal
        try:
            post = self._post(str((await request.json())["request_id"]))
        except (ValueError, KeyError, TypeError):
            return _refusal(400, "missing_field", "The field request_id is missing.")
        if post is None:
            return _refusal(404, "not_found", "No such upload.")
        results = json.loads(post["results"])
        failed = [platform for platform, outcome in results.items() if outcome == "failed"]
        if not failed:
            return _refusal(409, "nothing_to_retry", "No platform failed.")
        results |= dict.fromkeys(failed, "published")
        sql = "UPDATE posts SET results = ?, ready_at = ? WHERE number = ?"
        self._store.write(sql, json.dumps(results), time.time() + PUBLISHING_SECONDS, post["number"])
        return JSONResponse({"success": True, "request_id": post["request_id"], "retried": failed})

    def _post(self, request_id: str) -> Row | None:
        return self._store.one("SELECT * FROM posts WHERE request_id = ?", request_id)

    def _known(self, key: str | None, request_id: str) -> Row | None:
        sql = "SELECT * FROM posts WHERE idempotency_key = ? OR request_id IN (?, ?)"
        return self._store.one(sql, key, key, request_id)

    async def _keep(self, form: FormData, platforms: list[str], key: str | None) -> Row:
        request_id = str(form.get("request_id") or uuid.uuid4())
        video, digest, size, url = form["video"], None, None, None
        file = self._folder / f"{hashlib.sha256(request_id.encode()).hexdigest()}.mp4"
        if isinstance(video, str):
            url = video
        else:
            digest, size = await asyncio.to_thread(_save, video, file)
        flags = {name: value for name, value in form.items() if name not in NOT_FLAGS and isinstance(value, str)}
        results = dict.fromkeys(platforms, "published")
        if partial := self._faults.take("upload_partial"):
            results[str(partial["platform"]) or platforms[-1]] = "failed"
        if self._faults.happens("upload_fallback_to_inbox"):
            results[platforms[0]] = "inbox"
        slow = float((self._faults.take("upload_slow") or {"seconds": PUBLISHING_SECONDS})["seconds"])
        now = time.time()
        self._store.write(
            # Two uploads under one key at the same moment: the first is kept, the second finds it.
            "INSERT OR IGNORE INTO posts (request_id, idempotency_key, profile, title, fields, sha256, bytes,"
            " video_url, results, created_at, ready_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(request_id, key, str(form["user"]), str(form["title"]), json.dumps(flags), digest, size),
            *(url, json.dumps(results), now, now + slow),
        )
        post = self._known(key, request_id)
        assert post is not None  # noqa: S101 - it was just written
        return post

    def _results(self, post: Row, base_url: str) -> list[dict[str, Any]]:
        return [
            _result(post["request_id"], platform, outcome, base_url)
            for platform, outcome in json.loads(post["results"]).items()
        ]


def _result(request_id: str, platform: str, outcome: str, base_url: str) -> dict[str, Any]:
    published = outcome == "published"
    result: dict[str, Any] = {
        "platform": platform,
        "success": outcome != "failed",
        "message": {"published": "Published.", "inbox": "Sent to the inbox as a draft."}.get(outcome, "Failed."),
        "url": f"{base_url}sandbox/posts/{request_id}/{platform}" if published else None,
        "post_id": f"sandbox-{platform}-{request_id}" if published else None,
        "publish_id": f"sandbox-{request_id}",
        "error": "The platform refused the video." if outcome == "failed" else None,
    }
    return result | ({"fallback_to_inbox": True} if outcome == "inbox" else {})


def _accepted(post: Row) -> dict[str, Any]:
    return {
        "success": True,
        "message": "Upload initiated successfully in background.",
        "request_id": post["request_id"],
        "total_platforms": len(json.loads(post["results"])),
    }


def _without_key(request: Request) -> Response | None:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "apikey" and key.strip():
        return None
    return _refusal(401, "unauthorized", "Authorization must be: Apikey <key>.")


def _limited(params: dict[str, Any]) -> Response:
    violations = [{"platform": "tiktok", "type": "daily_cap", "limit": 15, "used": 15}]
    message = "The upload limit is reached. (SANDBOX: an ordered fault.)"
    body = {"success": False, "error": "rate_limited", "message": message, "violations": violations}
    return JSONResponse(body, 429, {"Retry-After": f"{params['retry_after']:g}"})


def _refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"success": False, "error": code, "message": message}, status)


def _save(video: UploadFile | Any, path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while piece := video.file.read(1 << 20):
            digest.update(piece)
            size += file.write(piece)
    return digest.hexdigest(), size
