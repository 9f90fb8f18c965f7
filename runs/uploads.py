"""Uploads: images that clips can start from, and sounds for films. An unused one stays until its file is deleted."""

import asyncio
import re
import tempfile
from pathlib import Path

from pydantic import BaseModel

from providers.media import sounds
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


class StoredSound(BaseModel):
    """An uploaded sound as it is stored: its sha256, its length in seconds, its loudness, its size and its URL."""

    digest: str
    seconds: float
    lufs: float | None
    bytes: int
    url: str


#: How audio files start; the declared type of an upload does not count.
_SOUND = re.compile(rb"RIFF....WAVE|FORM....AIF|ID3|\xff[\xe0-\xfe]|fLaC|OggS|....ftyp|\x1aE\xdf\xa3", re.DOTALL)


async def store_upload(services: Services, content: bytes) -> StoredImage | StoredSound:
    """Check, clean and store an image or a sound. Raises InvalidImage, InvalidSound or Unavailable."""
    return await (store_sound if _SOUND.match(content) else store_image)(services, content)


async def store_sound(services: Services, content: bytes) -> StoredSound:
    """Check, convert and store a sound. Raises InvalidSound or Unavailable."""
    with tempfile.TemporaryDirectory(prefix="upload-", dir=services.scratch) as folder:
        source = Path(folder) / "upload"
        await asyncio.to_thread(source.write_bytes, content)
        file, facts = await sounds.accept_sound(source, into=Path(folder))
        digest = await services.artifacts.store(file, kind=sounds.KIND, media_type=sounds.MEDIA_TYPE, facts=facts)
        return StoredSound(digest=digest, **facts, bytes=file.stat().st_size, url=f"/v1/artifacts/{digest}")


async def store_image(services: Services, content: bytes) -> StoredImage:
    """Check, clean and store an image. Raises InvalidImage or Unavailable."""
    with tempfile.TemporaryDirectory(prefix="upload-", dir=services.scratch) as folder:
        path = Path(folder) / "image.jpg"
        width, height = await asyncio.to_thread(clean_image, content, path)
        facts = {"width": width, "height": height}
        digest = await services.artifacts.store(path, kind=KIND, media_type=MEDIA_TYPE, facts=facts)
        return StoredImage(digest=digest, **facts, bytes=path.stat().st_size, url=f"/v1/artifacts/{digest}")
