"""Upload-Post-compatible `/api`: uploads are stored and shown on sandbox pages, never published."""

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import FormData

from sandbox.faults import FaultQueue
from sandbox.store import Row, Store

PUBLISHING_SECONDS = 0.3
#: Idempotency header of the vendor and its aliases; the form field `request_id` is equivalent to the last.
IDEMPOTENCY_HEADERS = ("idempotency-key", "x-idempotency-key", "x-request-id")
#: Form fields that are not platform flags.
RESERVED_FIELDS = ("user", "platform[]", "platform", "video", "title", "request_id")
#: The warning about a label that the connected account does not support.
IGNORED_LABEL = {"field": "is_aigc", "message": "Ignored: the connection does not support it."}


class PublishingApi:
    """Handlers of the publishing API."""

    def __init__(self, store: Store, faults: FaultQueue) -> None:
        self._store, self._faults = store, faults
        self._folder = store.folder / "posts"
        self._folder.mkdir(exist_ok=True)

    def routes(self) -> APIRouter:
        """Return the router of the publishing API."""
        router = APIRouter(prefix="/api")
        router.add_api_route("/upload", self.upload, methods=["POST"])
        router.add_api_route("/uploadposts/status", self.get_status, methods=["GET"])
        router.add_api_route("/uploadposts/history", self.get_history, methods=["GET"])
        router.add_api_route("/uploadposts/posts/retry", self.retry, methods=["POST"])
        return router

    async def upload(self, request: Request) -> Response:
        """Accept a video for some platforms; a request with a known idempotency key returns the first upload."""
        if (refusal := _check_api_key(request)) is not None:
            return refusal
        if (failure := self._consume_upload_fault()) is not None:
            return failure
        async with request.form() as form:
            platforms = _read_platforms(form)
            if (refusal := _check_fields(form, platforms)) is not None:
                return refusal
            key = _read_idempotency_key(request)
            existing = self._find_existing(key, str(form.get("request_id", "")))
            if existing is not None:
                return JSONResponse(_format_accepted(existing))
            post = await self._save_post(form, platforms, key)
        if hang := self._faults.consume("upload_accept_then_timeout"):
            await asyncio.sleep(float(hang["seconds"]))
            return _error_response(504, "timeout", "Gateway timeout.")
        if str(form.get("async_upload", "")).lower() == "true":
            return JSONResponse(_format_accepted(post))
        await asyncio.sleep(max(0.0, post["ready_at"] - time.time()))
        results = {result["platform"]: result for result in _format_results(post, str(request.base_url))}
        return JSONResponse({"success": True, "results": results, "usage": {"count": 1, "limit": 1000}})

    async def get_status(self, request: Request, request_id: str = "", job_id: str = "") -> Response:
        """Return the progress of an upload; HTTP 200 does not mean published, only the results show that."""
        if (refusal := _check_api_key(request)) is not None:
            return refusal
        if self._faults.trigger("upload_status_500"):
            return _error_response(500, "internal_error", "Internal server error. (SANDBOX: injected fault.)")
        post = self._fetch(request_id or job_id)
        if post is None:
            return JSONResponse({"success": False, "request_id": request_id, "status": "not_found"}, 404)
        results, total = _format_results(post, str(request.base_url)), len(json.loads(post["results"]))
        body: dict[str, Any] = {"success": True, "request_id": post["request_id"], "total": total}
        if stalled := self._faults.consume("upload_status_failed"):
            # The vendor also says so when it has recorded nothing for an hour, whatever the platforms did.
            unfinished = [_format_unfinished(result["platform"]) for result in results]
            unfinished = unfinished if stalled["results"] == "processing" else []
            return JSONResponse(body | {"status": "failed", "completed": 0, "results": unfinished})
        if time.time() < post["ready_at"]:
            return JSONResponse(body | {"status": "in_progress", "completed": 0, "results": []})
        if self._faults.trigger("upload_label_ignored"):
            results = [result | {"warnings": [IGNORED_LABEL]} for result in results]
        status = "completed" if any(result["success"] for result in results) else "failed"
        return JSONResponse(body | {"status": status, "completed": total, "results": results})

    async def get_history(self, request: Request, request_id: str = "") -> Response:
        """Return the finished uploads with the links of their posts."""
        if (refusal := _check_api_key(request)) is not None:
            return refusal
        posts = [self._fetch(request_id)] if request_id else self._store.fetch_all("SELECT * FROM posts")
        entries = [
            {
                "request_id": post["request_id"],
                "profile_username": post["profile"],
                "post_title": post["title"],
                "platform": result["platform"],
                "success": result["success"],
                "platform_post_id": result["post_id"],
                "post_url": result["url"],
                "error_message": result["error"],
                "upload_timestamp": post["created_at"],
            }
            for post in posts
            if post is not None and time.time() >= post["ready_at"]
            for result in _format_results(post, str(request.base_url))
        ]
        name = "uploads" if self._faults.trigger("upload_history_renamed") else "history"
        return JSONResponse({name: entries, "page": 1, "total": len(entries)})

    async def retry(self, request: Request) -> Response:
        """Publish an upload again on the platforms where it failed."""
        if (refusal := _check_api_key(request)) is not None:
            return refusal
        try:
            post = self._fetch(str((await request.json())["request_id"]))
        except (ValueError, KeyError, TypeError):
            return _error_response(400, "missing_field", "The field request_id is missing.")
        if post is None:
            return _error_response(404, "not_found", "Upload not found.")
        results = json.loads(post["results"])
        failed = [platform for platform, result in results.items() if result == "failed"]
        if not failed:
            return _error_response(409, "nothing_to_retry", "No platform failed.")
        results |= dict.fromkeys(failed, "published")
        sql = "UPDATE posts SET results = ?, ready_at = ? WHERE number = ?"
        self._store.execute(sql, json.dumps(results), time.time() + PUBLISHING_SECONDS, post["number"])
        return JSONResponse({"success": True, "request_id": post["request_id"], "retried": failed})

    def _consume_upload_fault(self) -> Response | None:
        if limited := self._faults.consume("upload_429"):
            return _rate_limit_response(limited)
        if self._faults.trigger("upload_500"):
            return _error_response(500, "internal_error", "Internal server error. (SANDBOX: injected fault.)")
        if self._faults.trigger("upload_401"):
            return _error_response(401, "invalid_api_key", "Invalid API key. (SANDBOX: injected fault.)")
        return None

    def _fetch(self, request_id: str) -> Row | None:
        return self._store.fetch_one("SELECT * FROM posts WHERE request_id = ?", request_id)

    def _find_existing(self, key: str | None, request_id: str) -> Row | None:
        sql = "SELECT * FROM posts WHERE idempotency_key = ? OR request_id IN (?, ?)"
        return self._store.fetch_one(sql, key, key, request_id)

    async def _save_post(self, form: FormData, platforms: list[str], key: str | None) -> Row:
        request_id = str(form.get("request_id") or uuid.uuid4())
        video, digest, size, url = form["video"], None, None, None
        file = self._folder / f"{hashlib.sha256(request_id.encode()).hexdigest()}.mp4"
        if isinstance(video, str):
            url = video
        else:
            digest, size = await asyncio.to_thread(_save_file, video, file)
        flags = {name: value for name, value in form.items() if name not in RESERVED_FIELDS and isinstance(value, str)}
        results = dict.fromkeys(platforms, "published")
        if partial := self._faults.consume("upload_partial"):
            results[str(partial["platform"]) or platforms[-1]] = "failed"
        if self._faults.trigger("upload_fallback_to_inbox"):
            results[platforms[0]] = "inbox"
        seconds = float((self._faults.consume("upload_slow") or {"seconds": PUBLISHING_SECONDS})["seconds"])
        now = time.time()
        self._store.execute(
            # Of two concurrent uploads under one key the first is stored and the second one finds it.
            "INSERT OR IGNORE INTO posts (request_id, idempotency_key, profile, title, fields, sha256, bytes,"
            " video_url, results, created_at, ready_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(request_id, key, str(form["user"]), str(form["title"]), json.dumps(flags), digest, size),
            *(url, json.dumps(results), now, now + seconds),
        )
        post = self._find_existing(key, request_id)
        assert post is not None  # noqa: S101 - the row was inserted above
        return post


def _check_api_key(request: Request) -> Response | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "apikey" and key.strip():
        return None
    return _error_response(401, "unauthorized", "Authorization must be: Apikey <key>.")


def _read_platforms(form: FormData) -> list[str]:
    return [str(name) for field in ("platform[]", "platform") for name in form.getlist(field)]


def _read_idempotency_key(request: Request) -> str | None:
    return next((value for name in IDEMPOTENCY_HEADERS if (value := request.headers.get(name))), None)


def _check_fields(form: FormData, platforms: Sequence[str]) -> Response | None:
    missing = [field for field in ("user", "title", "video") if not form.get(field)]
    if not platforms:
        missing.append("platform[]")
    return _error_response(400, "missing_field", f"The field {missing[0]} is missing.") if missing else None


def _format_results(post: Row, base_url: str) -> list[dict[str, Any]]:
    return [
        _format_result(post["request_id"], platform, result, base_url)
        for platform, result in json.loads(post["results"]).items()
    ]


def _format_result(request_id: str, platform: str, result: str, base_url: str) -> dict[str, Any]:
    is_published = result == "published"
    body: dict[str, Any] = {
        "platform": platform,
        "success": result != "failed",
        "message": {"published": "Published.", "inbox": "Sent to the inbox as a draft."}.get(result, "Failed."),
        "url": f"{base_url}sandbox/posts/{request_id}/{platform}" if is_published else None,
        "post_id": f"sandbox-{platform}-{request_id}" if is_published else None,
        "publish_id": f"sandbox-{request_id}",
        "error": "The platform refused the video." if result == "failed" else None,
        "error_code": "platform_refused" if result == "failed" else None,
    }
    return body | ({"fallback_to_inbox": True} if result == "inbox" else {})


def _format_unfinished(platform: str) -> dict[str, Any]:
    return {"platform": platform, "success": False, "status": "processing", "message": "Processing"}


def _format_accepted(post: Row) -> dict[str, Any]:
    return {
        "success": True,
        "message": "Upload initiated successfully in background.",
        "request_id": post["request_id"],
        "total_platforms": len(json.loads(post["results"])),
    }


def _rate_limit_response(params: dict[str, Any]) -> Response:
    violations = [{"platform": "tiktok", "type": "daily_cap", "limit": 15, "used": 15}]
    message = "The upload limit is reached. (SANDBOX: injected fault.)"
    body = {"success": False, "error": "rate_limited", "message": message, "violations": violations}
    return JSONResponse(body, 429, {"Retry-After": f"{params['retry_after']:g}"})


def _error_response(status: int, code: str, message: str) -> Response:
    return JSONResponse({"success": False, "error": code, "message": message}, status)


def _save_file(video: UploadFile | Any, path: Path) -> tuple[str, int]:
    """Write the upload to `path` and return its SHA-256 digest in hex and its size in bytes."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while chunk := video.file.read(1 << 20):
            digest.update(chunk)
            size += file.write(chunk)
    return digest.hexdigest(), size
