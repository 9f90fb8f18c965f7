"""Images that clips can start from: checked, upright, without metadata, all in one format and colour space."""

import contextlib
import threading
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

from providers.base import Unusable

FORMATS = ("PNG", "JPEG", "WEBP")
#: The sides of an accepted image in pixels. Kling takes none of less than 300.
MIN_SIDE, MAX_SIDE = 300, 8_000
#: The longer side of a stored image; no clip is larger. A larger one is scaled down.
STORED_SIDE = 1_920
#: An image of the largest size takes 250 MB while it is decoded: one at a time.
_decoding = threading.Lock()


def clean_image(content: bytes, to: Path) -> tuple[int, int]:
    """Write the image as a JPEG without metadata and return its width and height. Raises Unusable.

    The size is checked before anything is decoded. Transparent parts become white.
    """
    sides = f"{MIN_SIDE} to {MAX_SIDE:,} pixels a side"
    try:
        with _decoding, Image.open(BytesIO(content), formats=FORMATS) as image:
            if not all(MIN_SIDE <= side <= MAX_SIDE for side in image.size):
                found = f"{image.width}x{image.height}"
                raise Unusable("image_size_unsupported", f"An image must have {sides}; this one has {found}.")
            image.draft("RGB", (STORED_SIDE, STORED_SIDE))
            cleaned = _to_srgb(ImageOps.exif_transpose(image))
            cleaned.thumbnail((STORED_SIDE, STORED_SIDE), Image.Resampling.LANCZOS)
            cleaned.info.clear()
            cleaned.save(to, "JPEG", quality=92, subsampling=0)
            return cleaned.size
    except Unusable:
        raise
    except Exception as error:  # the decoders raise many kinds for a damaged file, and one for a far too large size
        message = f"The file is no PNG, JPEG or WebP image of {sides}, or it is damaged."
        raise Unusable("image_invalid", message) from error


def _to_srgb(image: Image.Image) -> Image.Image:
    """Return the image in sRGB: the colours of its own profile are converted, because the profile is not kept."""
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels)
    image = image if image.mode in ("L", "CMYK") else image.convert("RGB")
    with contextlib.suppress(ImageCms.PyCMSError):  # a profile of another kind of colours than the image has
        if profile:
            space, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, space, srgb, outputMode="RGB") or image
    return image.convert("RGB")
