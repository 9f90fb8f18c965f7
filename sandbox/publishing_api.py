"""Upload-Post-compatible `/api`: uploads are stored and shown on sandbox pages, never published."""

import asyncio
import hashlib
import json
import time
import uuid
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import FormData

from sandbox.faults import FaultQueue
from sandbox.responses import Headers, VendorError
from sandbox.routing import Routes, build_router
from sandbox.store import Row, Store

INJECTED = "(SANDBOX: injected fault.)"
PUBLISHING_SECONDS = 0.3
#: Idempotency header of the vendor and its aliases; the form field `request_id` is equivalent to the last.
IDEMPOTENCY_HEADERS = ("idempotency-key", "x-idempotency-key", "x-request-id")
#: Form fields that are not platform flags.
RESERVED_FIELDS = ("user", "platform[]", "platform", "video", "title", "request_id")
#: The warning about a label that the connected account does not support.
IGNORED_LABEL = {"field": "is_aigc", "message": "Ignored: the connection does not support it."}
MESSAGES = {"published": "Published.", "inbox": "Sent to the inbox as a draft.", "failed": "Failed."}


class PublishingApi:
    """Handlers of the publishing API."""

    def __init__(self, store: Store, faults: FaultQueue) -> None:
        self._store, self._faults = store, faults
        self._folder = store.folder / "posts"
        self._folder.mkdir(exist_ok=True)
        routes: Routes = {
            "POST /upload": self.upload,
            "GET /uploadposts/status": self.get_status,
            "GET /uploadposts/history": self.get_history,
        }
        self.router = build_router("/api", routes, _check_api_key)

    async def upload(self, request: Request) -> Response:
        """Accept a video for some platforms; a request with a known idempotency key returns the first upload."""
        self._check_upload_faults()
        async with request.form() as form:
            platforms = [str(name) for field in ("platform[]", "platform") for name in form.getlist(field)]
            fields = {**{name: form.get(name) for name in ("user", "title", "video")}, "platform[]": platforms}
            for name, value in fields.items():
                if not value:
                    raise _error(400, "missing_field", f"The field {name} is missing.")
            key = next((value for name in IDEMPOTENCY_HEADERS if (value := request.headers.get(name))), None)
            existing = self._find_existing(key, str(form.get("request_id", "")))
            if existing is not None:
                return _accepted_response(existing)
            post = await self._save_post(form, platforms, key)
        if hang := self._faults.consume("upload_accept_then_timeout"):
            await asyncio.sleep(float(hang["seconds"]))
            raise _error(504, "timeout", "Gateway timeout.")
        if str(form.get("async_upload", "")).lower() == "true":
            return _accepted_response(post)
        await asyncio.sleep(max(0.0, post["ready_at"] - time.time()))
        results = {result["platform"]: result for result in _format_results(post, str(request.base_url))}
        return JSONResponse({"success": True, "results": results, "usage": {"count": 1, "limit": 1000}})

    async def get_status(self, request: Request, request_id: str = "") -> Response:
        """Return the progress of an upload; HTTP 200 does not mean published, only the results show that."""
        if self._faults.trigger("upload_status_500"):
            raise _error(500, "internal_error", f"Internal server error. {INJECTED}")
        post = self._find_existing(None, request_id)
        if post is None:
            return JSONResponse({"success": False, "request_id": request_id, "status": "not_found"}, 404)
        results = _format_results(post, str(request.base_url))
        body = {"success": True, "request_id": request_id, "total": len(results), "completed": 0, "results": []}
        if stalled := self._faults.consume("upload_status_failed"):
            # The vendor also says so when it has recorded nothing for an hour, whatever the platforms did.
            named = [each["platform"] for each in results if stalled["results"] == "processing"]
            found = [{"platform": name, "success": False, "status": "processing"} for name in named]
            return JSONResponse(body | {"status": "failed", "results": found})
        if time.time() < post["ready_at"]:
            return JSONResponse(body | {"status": "in_progress"})
        if self._faults.trigger("upload_label_ignored"):
            results = [result | {"warnings": [IGNORED_LABEL]} for result in results]
        status = "completed" if any(result["success"] for result in results) else "failed"
        return JSONResponse(body | {"status": status, "completed": len(results), "results": results})

    async def get_history(self, request: Request, request_id: str = "") -> Response:
        """Return the finished uploads with the links of their posts."""
        sql = "SELECT * FROM posts WHERE ? IN ('', request_id) AND ready_at <= ?"
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
            for post in self._store.fetch_all(sql, request_id, time.time())
            for result in _format_results(post, str(request.base_url))
        ]
        name = "uploads" if self._faults.trigger("upload_history_renamed") else "history"
        return JSONResponse({name: entries, "page": 1, "total": len(entries)})

    def _check_upload_faults(self) -> None:
        if limited := self._faults.consume("upload_429"):
            headers = {"Retry-After": f"{limited['retry_after']:g}"}
            violations = [{"platform": "tiktok", "type": "daily_cap", "limit": 15, "used": 15}]
            raise _error(429, "rate_limited", f"Upload limit reached. {INJECTED}", headers, violations=violations)
        if self._faults.trigger("upload_500"):
            raise _error(500, "internal_error", f"Internal server error. {INJECTED}")
        if self._faults.trigger("upload_401"):
            raise _error(401, "invalid_api_key", f"Invalid API key. {INJECTED}")

    def _find_existing(self, key: str | None, request_id: str) -> Row | None:
        sql = "SELECT * FROM posts WHERE idempotency_key = ? OR request_id IN (?, ?)"
        return self._store.fetch_one(sql, key, key, request_id)

    async def _save_post(self, form: FormData, platforms: list[str], key: str | None) -> Row:
        request_id = str(form.get("request_id") or uuid.uuid4())
        video, digest, size, url = form["video"], None, None, None
        if isinstance(video, str):
            url = video
        else:
            file = self._folder / f"{hashlib.sha256(request_id.encode()).hexdigest()}.mp4"
            content = await video.read()
            file.write_bytes(content)
            digest, size = hashlib.sha256(content).hexdigest(), len(content)
        flags = {name: value for name, value in form.items() if name not in RESERVED_FIELDS and isinstance(value, str)}
        results = dict.fromkeys(platforms, "published")
        if partial := self._faults.consume("upload_partial"):
            results[str(partial["platform"]) or platforms[-1]] = "failed"
        if self._faults.trigger("upload_fallback_to_inbox"):
            results[platforms[0]] = "inbox"
        now = time.time()
        row: dict[str, Any] = {"request_id": request_id, "idempotency_key": key, "sha256": digest, "bytes": size}
        row |= {"profile": str(form["user"]), "title": str(form["title"]), "results": json.dumps(results)}
        row |= {"fields": json.dumps(flags), "video_url": url, "created_at": now, "ready_at": now + PUBLISHING_SECONDS}
        # Of two concurrent uploads under one key the first is stored and the second one finds it.
        self._store.insert("posts", **row)
        post = self._find_existing(key, request_id)
        assert post is not None  # noqa: S101 - the row was inserted above
        return post


async def _check_api_key(request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "apikey" or not key.strip():
        raise _error(401, "unauthorized", "Authorization must be: Apikey <key>.")


def _error(status: int, code: str, message: str, headers: Headers = None, **fields: object) -> VendorError:
    return VendorError(status, {"success": False, "error": code, "message": message, **fields}, headers)


def _format_results(post: Row, base_url: str) -> list[dict[str, Any]]:
    """Return the results of a post on its platforms."""
    request_id, results = post["request_id"], json.loads(post["results"])
    return [
        {
            "platform": platform,
            "success": result != "failed",
            "message": MESSAGES[result],
            "url": f"{base_url}sandbox/posts/{request_id}/{platform}" if result == "published" else None,
            "post_id": f"sandbox-{platform}-{request_id}" if result == "published" else None,
            "publish_id": f"sandbox-{request_id}",
            "error": "The platform refused the video." if result == "failed" else None,
            "error_code": "platform_refused" if result == "failed" else None,
            **({"fallback_to_inbox": True} if result == "inbox" else {}),
        }
        for platform, result in results.items()
    ]


def _accepted_response(post: Row) -> Response:
    body = {"success": True, "message": "Upload initiated successfully in background."}
    return JSONResponse(body | {"request_id": post["request_id"], "total_platforms": len(json.loads(post["results"]))})
