"""Video API responses as different video servers format them."""

import base64
import binascii
from typing import Any

from fastapi.responses import JSONResponse, Response

from sandbox.responses import ApiError
from sandbox.videos import Video

#: With these characters the Base64 of an id contains `+` and `/`, independent of their offset.
LITELLM_DEPLOYMENT = "~~~???"
#: The statuses that servers name otherwise.
STATUSES = {
    ("litellm", "queued"): "processing",
    ("litellm", "in_progress"): "processing",
    ("openrouter", "queued"): "pending",
}


def format_video(video: Video, profile: str) -> dict[str, Any]:
    """Return the video object in the format of the profile."""
    body: dict[str, Any] = {
        "id": encode_video_id(video, profile),
        "object": "video",
        "status": STATUSES.get((profile, video.status), video.status),
        **{name: getattr(video, name) for name in ("model", "progress", "prompt", "size", "seconds")},
        **{name: (at := getattr(video, name)) and int(at) for name in ("created_at", "completed_at", "expires_at")},
        "remixed_from_video_id": None,
        "error": None,
    }
    if profile in ("sglang", "litellm"):
        del body["prompt"]
    if video.status == "failed":
        body["error"] = {"code": video.error_code, "message": video.error_message}
        if profile == "vllm":
            body["error"]["code"] = 422
        elif profile == "sglang":
            del body["error"]["code"]
    return body


def create_response(video: Video, profile: str) -> Response:
    """Return the response to a create request."""
    if profile == "openrouter":
        body = {"id": video.id, "polling_url": f"/api/v1/videos/{video.id}", "status": "pending"}
        return JSONResponse(body, 202)
    return JSONResponse(format_video(video, profile))


def retrieve_response(video: Video, profile: str, failed_status: int = 200) -> Response:
    """Return the response to a retrieve request; vLLM reports a failed job with status 422."""
    if video.status == "failed" and (profile == "vllm" or failed_status != 200):
        return JSONResponse(format_video(video, profile), 422 if failed_status == 200 else failed_status)
    return JSONResponse(format_video(video, profile), headers={"openai-poll-after-ms": "500"})


def odd_failure(video: Video, profile: str, form: str) -> Response:
    """Return the response about a failed job in a form that few servers use."""
    body = format_video(video, profile)
    if form == "capitals":
        body["status"] = body["status"].upper()
    elif form == "error_text":
        body["error"] = body["error"]["message"]
    return JSONResponse(body, 500 if form == "http_500" else 200)


def check_content(video: Video, profile: str, variant: str | None) -> None:
    """Raise ApiError in the way of the profile if the content is not available or the variant is invalid."""
    if profile == "sglang" and variant == "video":
        raise ApiError(404, "Variant 'video' not found: it must be an index.", code="not_found")
    if video.status == "completed":
        return
    if profile == "vllm" and video.status == "failed":
        raise ApiError(422, video.error_message or "Generation failed.", code="generation_failed")
    if profile == "openai" and video.status == "failed":
        raise ApiError(400, "The video failed, it has no content.", code="video_failed")
    raise ApiError(404, "Generation is still in-progress.", code="not_ready")


def encode_video_id(video: Video, profile: str) -> str:
    """Return the id in the format of the profile."""
    if profile != "litellm":
        return video.id
    text = f"litellm:custom_llm_provider:openai;model_id:{LITELLM_DEPLOYMENT};video_id:{video.id};"
    padded = text if len(text) % 3 else text + ";"
    return "video_" + base64.b64encode(padded.encode()).decode()


def decode_video_id(video_id: str) -> str:
    """Return the internal id for an id in the format of any profile."""
    try:
        text = base64.b64decode(video_id.removeprefix("video_"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return video_id
    return text.rpartition("video_id:")[2].rstrip(";") if "video_id:" in text else video_id
