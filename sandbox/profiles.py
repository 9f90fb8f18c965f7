"""Profiles: the same video as different servers show it, each with its own habits."""

import base64
import binascii
from typing import Any

from fastapi.responses import JSONResponse, Response

from sandbox.answers import ApiError
from sandbox.videos import Video

#: These characters make the Base64 of an id hold `+` and `/`, whatever their place in it.
LITELLM_DEPLOYMENT = "~~~???"


def shown(video: Video, profile: str) -> dict[str, Any]:
    """The video object as the profile gives it."""
    body: dict[str, Any] = {
        "id": wire_id(video, profile),
        "object": "video",
        "model": video.model,
        "status": _status(video.status, profile),
        "progress": video.progress,
        "prompt": video.prompt,
        "size": video.size,
        "seconds": video.seconds,
        "created_at": int(video.created_at),
        "completed_at": _whole(video.completed_at),
        "expires_at": _whole(video.expires_at),
        "remixed_from_video_id": None,
        "error": None,
    }
    if video.status == "failed":
        body["error"] = {"code": video.error_code, "message": video.error_message}
        if profile == "vllm":
            body["error"]["code"] = 422
        elif profile == "sglang":
            del body["error"]["code"]
    return body


def created(video: Video, profile: str) -> Response:
    """The answer to a create."""
    if profile == "openrouter":
        body = {"id": video.id, "polling_url": f"/api/v1/videos/{video.id}", "status": "pending"}
        return JSONResponse(body, 202)
    return JSONResponse(shown(video, profile))


def retrieved(video: Video, profile: str) -> Response:
    """The answer to a retrieve; one of the servers answers for a failed job with an error status."""
    if profile == "vllm" and video.status == "failed":
        return JSONResponse(shown(video, profile), 422)
    return JSONResponse(shown(video, profile), headers={"openai-poll-after-ms": "500"})


def deleted(video: Video, profile: str) -> Response:
    """The answer to a delete."""
    if profile == "sglang":
        return JSONResponse(shown(video, profile) | {"status": "deleted"})
    return JSONResponse({"id": video.id, "object": "video.deleted", "deleted": True})


def refuse_content(video: Video, profile: str, variant: str | None) -> None:
    """Raises ApiError as the profile does when the content cannot be had like this, or not yet."""
    if profile == "sglang" and variant == "video":
        raise ApiError(404, "Variant 'video' not found: it must be an index.", code="not_found")
    if video.status == "completed":
        return
    if profile == "vllm" and video.status == "failed":
        raise ApiError(422, video.error_message or "Generation failed.", code="generation_failed")
    if profile == "openai" and video.status == "failed":
        raise ApiError(400, "The video failed, it has no content.", code="video_failed")
    raise ApiError(404, "Generation is still in-progress.", code="not_ready")


def wire_id(video: Video, profile: str) -> str:
    """The id as it goes over the wire."""
    if profile != "litellm":
        return video.id
    inside = f"litellm:custom_llm_provider:openai;model_id:{LITELLM_DEPLOYMENT};video_id:{video.id};"
    padded = inside if len(inside) % 3 else inside + ";"
    return "video_" + base64.b64encode(padded.encode()).decode()


def own_id(video_id: str) -> str:
    """The id we know a video by, from either form."""
    try:
        inside = base64.b64decode(video_id.removeprefix("video_"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return video_id
    return inside.rpartition("video_id:")[2].rstrip(";") if "video_id:" in inside else video_id


def _status(status: str, profile: str) -> str:
    if profile == "litellm" and status in ("queued", "in_progress"):
        return "processing"
    if profile == "openrouter" and status == "queued":
        return "pending"
    return status


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
