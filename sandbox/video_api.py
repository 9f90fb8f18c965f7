"""OpenAI-compatible `/v1/videos`, subject to injected faults."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.datastructures import UploadFile

from sandbox.catalogue import VideoOrder, parse_data_uri, parse_video_order
from sandbox.faults import FaultQueue
from sandbox.responses import (
    HTML_ERROR_PAGE,
    ApiError,
    TruncatedResponse,
    rate_limit_error,
    require_bearer_token,
    server_error,
)
from sandbox.server_profiles import (
    check_content,
    create_response,
    decode_video_id,
    delete_response,
    encode_video_id,
    format_video,
    not_ready_error,
    odd_failure,
    retrieve_response,
)
from sandbox.videos import TERMINAL_STATUSES, Video, VideoService
from sandbox.webhook_sender import WebhookSender

#: How often the router of a LiteLLM proxy repeats a failed call by default.
LITELLM_RETRIES = 2


class VideoApi:
    """Handlers of the video API."""

    def __init__(self, videos: VideoService, faults: FaultQueue, sender: WebhookSender) -> None:
        self._videos, self._faults, self._sender = videos, faults, sender

    def routes(self, prefix: str) -> APIRouter:
        """Return the router of the video API under a prefix; ids are path parameters, they can contain slashes."""
        dependencies = [Depends(self._check_available), Depends(require_bearer_token)]
        router = APIRouter(prefix=prefix, dependencies=dependencies)
        router.add_api_route("/videos", self.create, methods=["POST"])
        router.add_api_route("/videos", self.list, methods=["GET"])
        router.add_api_route("/videos/{video_id:path}/content", self.get_content, methods=["GET"])
        router.add_api_route("/videos/{video_id:path}", self.retrieve, methods=["GET"])
        router.add_api_route("/videos/{video_id:path}", self.delete, methods=["DELETE"])
        return router

    async def _check_available(self) -> None:
        if shutdown := self._faults.get_active("shutdown"):
            raise ApiError(int(shutdown["status"]), "The Videos API has been shut down.", code="api_shut_down")
        if self._faults.trigger("video_401"):
            raise ApiError(401, "Incorrect API key provided: sandbox.", code="invalid_api_key")

    async def create(self, request: Request) -> Response:
        """Create a video and charge for it, unless a fault rejects the request.

        A LiteLLM proxy repeats a create that fails, unless a header forbids it. The fault `create_repeated` is such a
        proxy in front of any server.
        """
        fields = await self._read_fields(request)
        order = replace(parse_video_order(fields), image=await _read_image(fields.get("input_reference")))
        is_repeatable = request.headers.get("x-litellm-num-retries") != "0"
        repeated = self._faults.consume("create_repeated")
        for _ in range(int(repeated["copies"]) - 1 if repeated and is_repeatable else 0):
            self._videos.create(order)
        for _ in range(LITELLM_RETRIES if is_repeatable and self._faults.profile == "litellm" else 0):
            with suppress(ApiError):
                return await self._create(order)
        return await self._create(order)

    async def _create(self, order: VideoOrder) -> Response:
        if not_ready := self._faults.consume("create_not_ready"):
            return not_ready_error(str(not_ready["message"]), self._faults.profile)
        if limited := self._faults.consume("create_429"):
            raise rate_limit_error(limited)
        if self._faults.trigger("create_500"):
            raise server_error()
        if refused := self._faults.consume("create_refuse"):
            raise ApiError(400, "Hmmm something didn't look right with your request.", code=refused["code"])
        profile = self._faults.profile
        video = self._videos.create(order)
        response = create_response(video, profile)
        if self._faults.trigger("create_accept_then_500"):
            raise server_error()
        if hang := self._faults.consume("create_accept_then_hang"):
            await asyncio.sleep(float(hang["seconds"]))
            raise ApiError(504, "Gateway timeout.", code="timeout", kind="server_error")
        if wait := self._faults.consume("webhook_before_response"):
            await self.wait_for_webhook(video, float(wait["seconds"]))
        return response

    async def list(self, limit: int = 20, after: str | None = None, order: str = "desc") -> dict[str, Any]:
        """Return a page of videos, newest first unless `order` is "asc"."""
        if not 0 <= limit <= 100:
            raise ApiError(400, "limit must be 0 to 100.", code="invalid_value", param="limit")
        if order not in ("asc", "desc"):
            raise ApiError(400, "order must be asc or desc.", code="invalid_value", param="order")
        if after is not None:
            after = self._find(after).id
        profile = self._faults.profile
        hidden = {"prompt": None} if self._faults.trigger("list_without_prompts") else {}
        videos, has_more = self._videos.list_page(limit, after, newest_first=order == "desc")
        return {
            "object": "list",
            "data": [format_video(video, profile) | hidden for video in videos],
            "first_id": encode_video_id(videos[0], profile) if videos else None,
            "last_id": encode_video_id(videos[-1], profile) if videos else None,
            "has_more": has_more,
        }

    async def retrieve(self, video_id: str) -> Response:
        """Return the current state of a video."""
        video = self._find(video_id)
        if self._faults.trigger("video_not_found"):
            self._videos.mark_lost(video)
            raise _video_not_found(video_id)
        if self._faults.trigger("status_500"):
            raise server_error()
        if video.status == "failed" and (odd := self._faults.consume("failed_oddly")):
            return odd_failure(video, self._faults.profile, str(odd["form"]))
        is_limited = video.status == "failed" and self._faults.trigger("failed_with_429")
        return retrieve_response(video, self._faults.profile, 429 if is_limited else 200)

    async def delete(self, video_id: str) -> Response:
        """Delete a completed or failed video."""
        profile = self._faults.profile
        if profile == "litellm":
            raise ApiError(405, "Method Not Allowed", code="method_not_allowed")
        video = self._find(video_id)
        if video.status not in TERMINAL_STATUSES:
            message = f"Only completed or failed videos can be deleted; this one is {video.status}."
            raise ApiError(400, message, code="video_not_ended")
        response = delete_response(video, profile)
        self._videos.delete(video)
        return response

    async def get_content(self, video_id: str, variant: str | None = None) -> Response:
        """Return the MP4 or the thumbnail of a completed video until the content expires."""
        video = self._find(video_id)
        check_content(video, self._faults.profile, variant)
        if variant not in (None, "video", "thumbnail"):
            raise ApiError(400, f"Invalid value: '{variant}'.", code="invalid_value", param="variant")
        path = self._videos.thumbnail_path(video) if variant == "thumbnail" else self._videos.clip_path(video)
        if video.expires_at is None or video.expires_at <= time.time() or not path.exists():
            raise ApiError(404, "The content of this video has expired.", code="content_expired")
        if variant == "thumbnail":
            return FileResponse(path, media_type="image/webp")
        return await self.clip_response(video)

    async def clip_response(self, video: Video) -> Response:
        """Return the MP4 of a completed video, subject to the faults of files."""
        path = self._videos.clip_path(video)
        if late := self._faults.consume("content_late"):
            raise ApiError(int(late["status"]), "The file is not available.", code="not_available")
        if self._faults.trigger("content_500"):
            raise server_error()
        if self._faults.trigger("content_html"):
            return HTMLResponse(HTML_ERROR_PAGE)
        if video.outcome.content_fault == "html":
            return Response(HTML_ERROR_PAGE, media_type="video/mp4")
        if wrong := self._faults.consume("content_wrong_type"):
            return FileResponse(path, media_type=str(wrong["content_type"]))
        content = await asyncio.to_thread(path.read_bytes)
        if self._faults.trigger("content_truncated"):
            return TruncatedResponse(content[: len(content) // 2], "video/mp4", declared_length=len(content))
        if video.outcome.content_fault == "truncated":
            return Response(content[: len(content) // 2], media_type="video/mp4")
        if slow := self._faults.consume("content_slow"):
            headers = {"content-length": str(len(content))}
            chunks = _stream_slowly(content, float(slow["seconds"]))
            return StreamingResponse(chunks, headers=headers, media_type="video/mp4")
        return FileResponse(path, media_type="video/mp4")

    async def _read_fields(self, request: Request) -> dict[str, Any]:
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            return dict(await request.form())
        if self._faults.profile == "vllm":
            raise ApiError(422, "The body must be multipart/form-data.", code="unprocessable_entity")
        try:
            body = json.loads(await request.body())
        except ValueError as error:
            raise ApiError(400, "The body is neither JSON nor multipart.", code="invalid_json") from error
        if not isinstance(body, dict):
            raise ApiError(400, "The body is not a JSON object.", code="invalid_json")
        return body

    async def wait_for_webhook(self, video: Video, timeout_seconds: float) -> None:
        """Delay the response until the webhook of the video has been attempted."""
        deadline = time.time() + timeout_seconds
        while time.time() < deadline:
            current = self._videos.find(video.id)
            is_done = current is not None and current.status in TERMINAL_STATUSES
            if is_done and not self._sender.has_unattempted_deliveries(video.id):
                return
            await asyncio.sleep(0.02)

    def _find(self, video_id: str) -> Video:
        video = self._videos.find(decode_video_id(video_id))
        if video is None:
            raise _video_not_found(video_id)
        return video


async def _read_image(reference: Any) -> bytes:
    """Return the image of a file in a form, or of `{"image_url": "data:…"}`; none without a reference."""
    if isinstance(reference, UploadFile):
        return await reference.read()
    return parse_data_uri(reference["image_url"]) if isinstance(reference, dict) else b""


def _video_not_found(video_id: str) -> ApiError:
    return ApiError(404, f"Video with id '{video_id}' not found.", code="not_found", param="video_id")


async def _stream_slowly(content: bytes, seconds: float) -> AsyncIterator[bytes]:
    chunk_count = 10
    chunk_size = len(content) // chunk_count + 1
    for start in range(0, len(content), chunk_size):
        await asyncio.sleep(seconds / chunk_count)
        yield content[start : start + chunk_size]
