"""The image that a clip starts from, as the services take it: an order names it by its digest."""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from providers.base import ArtifactMissing, Files, Json, NotSent, Refused, Unavailable
from providers.video_profiles import Profile

#: The kind of the stored files that clips can start from, and the type of all of them.
KIND, MEDIA_TYPE = "image", "image/jpeg"


async def read_image(request: Json, profile: Profile, files: Files | None) -> bytes | None:
    """Return the image that an order names, or None. Raises NotSent, and Refused, also if the model takes none."""
    if not request.get("image"):
        return None
    if not profile.start_image:
        raise Refused("video_image_unsupported", f"{request['model']} takes no start image.")
    if files is None:
        raise ArtifactMissing(request["image"])
    try:
        path = await files.local_path(request["image"])
    except Unavailable as error:
        raise NotSent(error.code, error.message) from error
    return await asyncio.to_thread(path.read_bytes)


def image_values(image: bytes) -> dict[str, str]:
    """Return the values of the names `$image` and `$base64` in a profile."""
    text = b64encode(image).decode()
    return {"image": f"data:{MEDIA_TYPE};base64,{text}", "base64": text}


def fill(part: Any, values: Mapping[str, Any]) -> Any:
    """Return a part of a template with `$name` replaced by the value of that name. Raises KeyError."""
    if isinstance(part, dict):
        return {name: fill(each, values) for name, each in part.items()}
    if isinstance(part, list):
        return [fill(each, values) for each in part]
    return values[part[1:]] if isinstance(part, str) and part.startswith("$") else part
