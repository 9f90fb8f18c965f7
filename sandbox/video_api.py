"""`/v1/videos`: the video service as OpenAI's clients know it, with the faults that were ordered."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse

from sandbox.answers import HTML_PAGE, ApiError, CutResponse, rate_limited, require_bearer, server_error
from sandbox.catalogue import checked
from sandbox.faults import Faults
from sandbox.profiles import created, deleted, own_id, refuse_content, retrieved, shown, wire_id
from sandbox.videos import ENDED, Video, Videos
from sandbox.webhooks import Courier


class VideoApi:
    """The routes of the video service."""

    def __init__(self, videos: Videos, faults: Faults, courier: Courier) -> None:
        self._videos, self._faults, self._courier = videos, faults, courier

    def routes(self, prefix: str) -> APIRouter:
        """Its routes under a prefix. A wire id may hold slashes, hence the paths."""
        door = [Depends(self._open), Depends(require_bearer)]
        router = APIRouter(prefix=prefix, dependencies=door)
        router.add_api_route("/videos", self.create, methods=["POST"])
        router.add_api_route("/videos", self.list, methods=["GET"])
        router.add_api_route("/videos/{video_id:path}/content", self.content, methods=["GET"])
        router.add_api_route("/videos/{video_id:path}", self.retrieve, methods=["GET"])
        router.add_api_route("/videos/{video_id:path}", self.delete, methods=["DELETE"])
        return router

    async def _open(self) -> None:
        if closed := self._faults.standing("shutdown"):
            raise ApiError(int(closed["status"]), "The Videos API has been shut down.", code="api_shut_down")

    async def create(self, request: Request) -> Response:
        """Takes an order, unless a fault comes in between."""
        order = checked(await self._fields(request))
        if limited := self._faults.take("create_429"):
            raise rate_limited(limited)
        if self._faults.happens("create_500"):
            raise server_error()
        if refused := self._faults.take("create_refuse"):
            raise ApiError(400, "Hmmm something didn't look right with your request.", code=refused["code"])
        profile = self._faults.profile
        video = self._videos.accept(order)
        answer = created(video, profile)
        if self._faults.happens("create_accept_then_500"):
            raise server_error()
        if hang := self._faults.take("create_accept_then_hang"):
            await asyncio.sleep(float(hang["seconds"]))
            raise ApiError(504, "Gateway timeout.", code="timeout", kind="server_error")
        if wait := self._faults.take("webhook_before_response"):
            await self._until_told(video, float(wait["seconds"]))
        return answer

    async def list(self, limit: int = 20, after: str | None = None, order: str = "desc") -> dict[str, Any]:
        """A page of videos, newest first unless asked otherwise."""
        if not 0 <= limit <= 100:
            raise ApiError(400, "limit must be 0 to 100.", code="invalid_value", param="limit")
        if order not in ("asc", "desc"):
            raise ApiError(400, "order must be asc or desc.", code="invalid_value", param="order")
        if after is not None:
            after = self._find(after).id
        profile = self._faults.profile
        videos, more = self._videos.page(limit, after, order == "desc")
        return {
            "object": "list",
            "data": [shown(video, profile) for video in videos],
            "first_id": wire_id(videos[0], profile) if videos else None,
            "last_id": wire_id(videos[-1], profile) if videos else None,
            "has_more": more,
        }

    async def retrieve(self, video_id: str) -> Response:
        """One video as it stands."""
        video = self._find(video_id)
        if self._faults.happens("lose_video"):
            self._videos.lose(video)
            raise _not_found(video_id)
        return retrieved(video, self._faults.profile)

    async def delete(self, video_id: str) -> Response:
        """Removes a video that has ended."""
        profile = self._faults.profile
        if profile == "litellm":
            raise ApiError(405, "Method Not Allowed", code="method_not_allowed")
        video = self._find(video_id)
        if video.status not in ENDED:
            message = f"Only completed or failed videos can be deleted; this one is {video.status}."
            raise ApiError(400, message, code="video_not_ended")
        answer = deleted(video, profile)
        self._videos.delete(video)
        return answer

    async def content(self, video_id: str, variant: str | None = None) -> Response:
        """The MP4 or its thumbnail, while it is kept."""
        video = self._find(video_id)
        refuse_content(video, self._faults.profile, variant)
        path = self._videos.still(video) if variant == "thumbnail" else self._videos.clip(video)
        if variant not in (None, "video", "thumbnail"):
            raise ApiError(400, f"Invalid value: '{variant}'.", code="invalid_value", param="variant")
        if video.expires_at is None or video.expires_at <= _now() or not path.exists():
            raise ApiError(404, "The content of this video has expired.", code="content_expired")
        if variant == "thumbnail":
            return FileResponse(path, media_type="image/webp")
        return await self._clip(video, path)

    async def _clip(self, video: Video, path: Path) -> Response:
        if self._faults.happens("content_500"):
            raise server_error()
        if self._faults.happens("content_html"):
            return HTMLResponse(HTML_PAGE)
        if video.fate.content == "html":
            return Response(HTML_PAGE, media_type="video/mp4")
        if wrong := self._faults.take("content_wrong_type"):
            return FileResponse(path, media_type=str(wrong["content_type"]))
        whole = await asyncio.to_thread(path.read_bytes)
        if self._faults.happens("content_truncated"):
            return CutResponse(whole[: len(whole) // 2], "video/mp4", declared_length=len(whole))
        if video.fate.content == "truncated":
            return Response(whole[: len(whole) // 2], media_type="video/mp4")
        if slow := self._faults.take("content_slow"):
            headers = {"content-length": str(len(whole))}
            return StreamingResponse(_drip(whole, float(slow["seconds"])), headers=headers, media_type="video/mp4")
        return FileResponse(path, media_type="video/mp4")

    async def _fields(self, request: Request) -> dict[str, Any]:
        kind = request.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
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

    async def _until_told(self, video: Video, seconds: float) -> None:
        """Holds the answer back until the webhook of the video has been tried."""
        give_up = _now() + seconds
        while _now() < give_up:
            now = self._videos.find(video.id)
            if now is not None and now.status in ENDED and not self._courier.untold(video.id):
                return
            await asyncio.sleep(0.02)

    def _find(self, video_id: str) -> Video:
        video = self._videos.find(own_id(video_id))
        if video is None:
            raise _not_found(video_id)
        return video


def _not_found(video_id: str) -> ApiError:
    return ApiError(404, f"Video with id '{video_id}' not found.", code="not_found", param="video_id")


def _now() -> float:
    return time.time()


async def _drip(whole: bytes, seconds: float) -> AsyncIterator[bytes]:
    pieces = 10
    step = len(whole) // pieces + 1
    for start in range(0, len(whole), step):
        await asyncio.sleep(seconds / pieces)
        yield whole[start : start + step]
