"""Lettering: the words on a picture, and the marks that say SANDBOX, as masks to blend."""

import textwrap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Mask = NDArray[np.uint16]

TITLE_LENGTH = 60


@dataclass(frozen=True)
class Lettering:
    """What is written (`ink`) and the shadow that keeps it readable (`shade`), 0..255, from row `top` on."""

    ink: Mask
    shade: Mask
    top: int


def title_of(prompt: str) -> str:
    """The first words of a prompt, short enough for a picture."""
    words = " ".join(prompt.split())
    return textwrap.shorten(words, TITLE_LENGTH, placeholder="…") if len(words) > TITLE_LENGTH else words


def lettering(prompt: str, label: str, width: int, height: int) -> Lettering:
    """The title of the prompt, a SANDBOX label in the corner and a faint mark across the picture."""
    unit = min(width, height) / 720
    ink = Image.new("L", (width, height), 0)
    _title(ImageDraw.Draw(ink), title_of(prompt), width, height, unit)
    _corner(ImageDraw.Draw(ink), label, width, height, unit)
    darker = [min(190, int(value * 2.4)) for value in range(256)]
    shade = ink.filter(ImageFilter.GaussianBlur(10 * unit)).point(darker)
    marked = np.maximum(np.asarray(ink), np.asarray(_diagonal(width, height, unit))).astype(np.uint16)
    shadow = np.asarray(shade).astype(np.uint16)
    rows = np.flatnonzero((marked.max(axis=1) > 0) | (shadow.max(axis=1) > 0))
    # Colour has half the rows of brightness: an even first row keeps the two masks aligned.
    top, bottom = int(rows[0]) & ~1, int(rows[-1]) + 1
    return Lettering(marked[top:bottom], shadow[top:bottom], top)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, round(size)))


def _title(draw: ImageDraw.ImageDraw, text: str, width: int, height: int, unit: float) -> None:
    """Centred, and above the middle: captions go into the lower third."""
    font = _font(38 * unit)
    per_line = max(8, int(width * 0.80 / (draw.textlength("abcdefghij", font=font) / 10)))
    lines = textwrap.wrap(text, per_line)[:3]
    line_height = 50 * unit
    top = height * 0.42 - len(lines) * line_height
    for number, line in enumerate(lines):
        left = (width - draw.textlength(line, font=font)) / 2
        draw.text((left, top + number * line_height), line, 255, font)


def _corner(draw: ImageDraw.ImageDraw, label: str, width: int, height: int, unit: float) -> None:
    left, top = width * 0.07, height * 0.165
    draw.text((left, top), "SANDBOX", 235, _font(34 * unit))
    draw.text((left, top + 42 * unit), label, 185, _font(18 * unit))


def _diagonal(width: int, height: int, unit: float) -> Image.Image:
    font = _font(128 * unit)
    left, top, right, bottom = font.getbbox("SANDBOX")
    word = Image.new("L", (round(right - left), round(bottom - top)), 0)
    ImageDraw.Draw(word).text((-left, -top), "SANDBOX", 26, font)
    turned = word.rotate(58 if height > width else 26, resample=Image.Resampling.BICUBIC, expand=True)
    sheet = Image.new("L", (width, height), 0)
    sheet.paste(turned, ((width - turned.width) // 2, (height - turned.height) // 2))
    return sheet
