"""SANDBOX mark of a picture, blended with integer arithmetic since it is in every frame."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Plane = NDArray[np.uint8]


class Mark:
    """Small SANDBOX mark in the upper left corner of the area that no platform covers.

    The masks, 0..255, of the text and of the shadow that keeps it readable start with picture row `top`.
    """

    LIGHT, NEUTRAL = 232, 128

    def __init__(self, width: int, height: int) -> None:
        unit, sheet = min(width, height) / 720, Image.new("L", (width, height), 0)
        font = ImageFont.load_default(max(9, round(23 * unit)))
        ImageDraw.Draw(sheet).text((width * 0.07, height * 0.155), "SANDBOX", 205, font)
        shadow = sheet.filter(ImageFilter.GaussianBlur(5 * unit)).point([min(120, value * 2) for value in range(256)])
        rows = np.flatnonzero(np.asarray(shadow).max(axis=1))
        # The chroma planes have half the rows of the luma plane: an even first row keeps the masks aligned.
        self.top, bottom = int(rows[0]) & ~1, int(rows[-1]) + 1
        self.text, self.shadow = (np.asarray(image).astype(np.uint16)[self.top : bottom] for image in (sheet, shadow))

    def blend(self, luma: Plane, *chroma: Plane) -> None:
        """Draw the mark on the planes of a frame."""
        part = luma[self.top :][: len(self.text)]
        part[...] = (((part * (256 - self.shadow)) >> 8) * (256 - self.text) + self.text * self.LIGHT) >> 8
        grey = np.maximum(self.text, self.shadow // 3)[::2, ::2]
        for plane in chroma:
            part = plane[self.top // 2 :][: len(grey)]
            part[...] = (part * (256 - grey) + grey * self.NEUTRAL) >> 8
