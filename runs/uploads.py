"""Uploads: images that clips can start from, and sounds for films. An unused one stays until its file is deleted."""

import asyncio
import re
import tempfile
from pathlib import Path

from pydantic import BaseModel

from providers.media import intake
from providers.media.images import clean_image
from providers.video_provider import IMAGE_KIND, IMAGE_TYPE
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
    """Check, clean and store an image or a sound. Raises Unusable or Unavailable."""
    with tempfile.TemporaryDirectory(prefix="upload-", dir=services.scratch) as folder:
        model: type[StoredImage | StoredSound]
        if _SOUND.match(content):
            source = Path(folder) / "upload"
            await asyncio.to_thread(source.write_bytes, content)
            file, facts = await intake.accept_sound(source, into=Path(folder))
            model, kind, media_type = StoredSound, intake.SOUND_KIND, intake.SOUND_TYPE
        else:
            file = Path(folder) / "image.jpg"
            facts = dict(zip(("width", "height"), await asyncio.to_thread(clean_image, content, file), strict=True))
            model, kind, media_type = StoredImage, IMAGE_KIND, IMAGE_TYPE
        digest = await services.artifacts.store(file, kind=kind, media_type=media_type, facts=facts)
        return model(digest=digest, **facts, bytes=file.stat().st_size, url=f"/v1/artifacts/{digest}")
