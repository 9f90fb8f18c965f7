"""Uploads: the images that clips can start from. One that no run uses stays until its file is deleted by hand."""

import asyncio
import tempfile
from pathlib import Path

from pydantic import BaseModel

from providers.media.images import clean_image
from providers.start_images import KIND, MEDIA_TYPE
from runs.services import Services


class StoredImage(BaseModel):
    """An uploaded image as it is stored: its sha256, its pixels, its size in bytes and its URL."""

    digest: str
    width: int
    height: int
    bytes: int
    url: str


async def store_image(services: Services, content: bytes) -> StoredImage:
    """Check, clean and store an image. Raises InvalidImage or Unavailable."""
    with tempfile.TemporaryDirectory(prefix="upload-", dir=services.scratch) as folder:
        path = Path(folder) / "image.jpg"
        width, height = await asyncio.to_thread(clean_image, content, path)
        facts = {"width": width, "height": height}
        digest = await services.artifacts.store(path, kind=KIND, media_type=MEDIA_TYPE, facts=facts)
        return StoredImage(digest=digest, **facts, bytes=path.stat().st_size, url=f"/v1/artifacts/{digest}")
