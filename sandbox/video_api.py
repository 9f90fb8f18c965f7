"""OpenAI-compatible `/v1/videos`, subject to injected faults."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.datastructures import UploadFile

from sandbox import server_profiles as profiles
from sandbox.catalogue import VideoOrder, parse_data_uri, parse_video_order
from sandbox.faults import FaultQueue
from sandbox.responses import HTML_ERROR_PAGE, ApiError, TruncatedResponse
from sandbox.routing import Routes, build_router, read_object, require_bearer_token
from sandbox.videos import TERMINAL_STATUSES, Video, VideoService
from sandbox.webhook_sender import WebhookSender

#: How often the router of a LiteLLM proxy repeats a failed call by default.
LITELLM_RETRIES = 2
Limit = Annotated[int, Query(ge=0, le=100)]


class VideoApi:
    """Handlers of the video API."""

    def __init__(self, videos: VideoService, faults: FaultQueue, sender: WebhookSender) -> None:
        self.videos, self.faults, self.sender = videos, faults, sender

    def router(self, prefix: str) -> APIRouter:
        """Return the router of the video API under a prefix; ids are path parameters, they can contain slashes."""
        routes: Routes = {
            "POST /videos": self.create,
            "GET /videos": self.list,
            "GET /videos/{video_id:path}/content": self.get_content,
            "GET /videos/{video_id:path}": self.retrieve,
        }
        return build_router(prefix, routes, self._check_available, require_bearer_token)

    async def _check_available(self) -> None:
        if shutdown := self.faults.consume("shutdown"):
            raise ApiError(int(shutdown["status"]), "The Videos API has been shut down.", code="api_shut_down")
        self.faults.raise_error("video_401")

    async def create(self, request: Request) -> Response:
        """Create a video and charge for it, unless a fault rejects the request.

        A LiteLLM proxy repeats a create that fails, unless a header forbids it. The fault `create_repeated` is such a
        proxy in front of any server.
        """
        fields = await self._read_fields(request)
        order = replace(parse_video_order(fields), image=await _read_image(fields.get("input_reference")))
        is_repeatable = request.headers.get("x-litellm-num-retries") != "0"
        repeated = self.faults.consume("create_repeated")
        for _ in range(int(repeated["copies"]) - 1 if repeated and is_repeatable else 0):
            self.videos.create(order)
        for _ in range(LITELLM_RETRIES if is_repeatable and self.faults.profile == "litellm" else 0):
            with suppress(ApiError):
                return await self._create(order)
        return await self._create(order)

    async def _create(self, order: VideoOrder) -> Response:
        if not_ready := self.faults.consume("create_not_ready"):
            return JSONResponse({"error" if self.faults.profile == "sglang" else "detail": not_ready["message"]}, 503)
        self.faults.raise_error("create_429", "create_500")
        video = self.videos.create(order)
        response = profiles.create_response(video, self.faults.profile)
        self.faults.raise_error("create_accept_then_500")
        await self.delay_response(video, ApiError(504, "Gateway timeout.", code="timeout"))
        return response

    async def list(
        self, limit: Limit = 20, after: str | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> dict[str, Any]:
        """Return a page of videos, newest first unless `order` is "asc"."""
        if after is not None:
            after = self._find(after).id
        profile = self.faults.profile
        hidden = {"prompt": None} if self.faults.trigger("list_without_prompts") else {}
        videos, has_more = self.videos.list_page(limit, after, newest_first=order == "desc")
        return {
            "object": "list",
            "data": [profiles.format_video(video, profile) | hidden for video in videos],
            "first_id": profiles.encode_video_id(videos[0], profile) if videos else None,
            "last_id": profiles.encode_video_id(videos[-1], profile) if videos else None,
            "has_more": has_more,
        }

    async def retrieve(self, video_id: str) -> Response:
        """Return the current state of a video."""
        video = self._find(video_id)
        if self.faults.trigger("video_not_found"):
            self.videos.mark_lost(video)
            raise _video_not_found(video_id)
        self.faults.raise_error("status_500")
        if video.status == "failed" and (odd := self.faults.consume("failed_oddly")):
            return profiles.odd_failure(video, self.faults.profile, str(odd["form"]))
        is_limited = video.status == "failed" and self.faults.trigger("failed_with_429")
        return profiles.retrieve_response(video, self.faults.profile, 429 if is_limited else 200)

    async def get_content(self, video_id: str, variant: str | None = None) -> Response:
        """Return the MP4 of a completed video until the content expires."""
        video = self._find(video_id)
        profiles.check_content(video, self.faults.profile, variant)
        if variant not in (None, "video"):
            raise ApiError(400, f"Invalid value: '{variant}'.", code="invalid_value", param="variant")
        if video.expires_at is None or video.expires_at <= time.time():
            raise ApiError(404, "The content of this video has expired.", code="content_expired")
        return await self.clip_response(video)

    async def clip_response(self, video: Video) -> Response:
        """Return the MP4 of a completed video, subject to the faults of files."""
        path = self.videos.clip_path(video)
        if late := self.faults.consume("content_late"):
            raise ApiError(int(late["status"]), "The file is not available.", code="not_available")
        self.faults.raise_error("content_500")
        if self.faults.trigger("content_html"):
            return HTMLResponse(HTML_ERROR_PAGE)
        if video.outcome.content_fault == "html":
            return Response(HTML_ERROR_PAGE, media_type="video/mp4")
        if wrong := self.faults.consume("content_wrong_type"):
            return FileResponse(path, media_type=str(wrong["content_type"]))
        content = await asyncio.to_thread(path.read_bytes)
        if self.faults.trigger("content_truncated"):
            return TruncatedResponse(content[: len(content) // 2], "video/mp4", declared_length=len(content))
        if video.outcome.content_fault == "truncated":
            return Response(content[: len(content) // 2], media_type="video/mp4")
        return FileResponse(path, media_type="video/mp4")

    async def _read_fields(self, request: Request) -> dict[str, Any]:
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            return dict(await request.form())
        if self.faults.profile == "vllm":
            raise ApiError(422, "The body must be multipart/form-data.", code="unprocessable_entity")
        return await read_object(request)

    async def delay_response(self, video: Video, error: ApiError) -> None:
        """Delay the response to a create by the pending faults: until a timeout, or until the webhook was attempted."""
        if hang := self.faults.consume("create_accept_then_hang"):
            await asyncio.sleep(float(hang["seconds"]))
            raise error
        wait = self.faults.consume("webhook_before_response")
        deadline = time.time() + float(wait["seconds"]) if wait else 0.0
        while time.time() < deadline:
            current = self.videos.find(video.id)
            is_done = current is not None and current.status in TERMINAL_STATUSES
            if is_done and not self.sender.has_unattempted_deliveries(video.id):
                return
            await asyncio.sleep(0.02)

    def _find(self, video_id: str) -> Video:
        video = self.videos.find(profiles.decode_video_id(video_id))
        if video is None:
            raise _video_not_found(video_id)
        return video


async def _read_image(reference: Any) -> bytes:
    """Return the image of a file in a form, or of `{"image_url": "data:…"}`; none without a reference."""
    if isinstance(reference, UploadFile):
        return await reference.read()
    return parse_data_uri(reference.get("image_url")) if isinstance(reference, dict) else b""


def _video_not_found(video_id: str) -> ApiError:
    return ApiError(404, f"Video with id '{video_id}' not found.", code="not_found", param="video_id")
