"""SANDBOX mark of a picture, as masks to blend."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Mask = NDArray[np.uint16]


@dataclass(frozen=True)
class TextOverlay:
    """Masks, 0..255, of the text and of the shadow that keeps it readable; their first row is picture row `top`."""

    text: Mask
    shadow: Mask
    top: int


def render_mark(width: int, height: int) -> TextOverlay:
    """Return the small SANDBOX mark in the upper left corner of the area that no platform covers."""
    unit = min(width, height) / 720
    sheet = Image.new("L", (width, height), 0)
    font = ImageFont.load_default(max(9, round(23 * unit)))
    ImageDraw.Draw(sheet).text((width * 0.07, height * 0.155), "SANDBOX", 205, font)
    shadow = sheet.filter(ImageFilter.GaussianBlur(5 * unit)).point([min(120, value * 2) for value in range(256)])
    rows = np.flatnonzero(np.asarray(shadow).max(axis=1))
    # The chroma planes have half the rows of the luma plane: an even first row keeps the masks aligned.
    top, bottom = int(rows[0]) & ~1, int(rows[-1]) + 1
    text, dark = (np.asarray(image).astype(np.uint16)[top:bottom] for image in (sheet, shadow))
    return TextOverlay(text, dark, top)
