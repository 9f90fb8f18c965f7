"""The text laid over a picture: white on a dark outline, inside what every platform leaves free."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT = Path(__file__).with_name("fonts") / "Inter-ExtraBold.otf"

# All lengths are pixels of a picture 1080 wide; the safe zone's are of one 1080x1920.
SIDE, TOP, BOTTOM = 192, 288, 672
LARGEST = 76
OUTLINE = 0.085  # of the letters' size
SHADOW = 14


@dataclass(frozen=True)
class Layer:
    """A text as the planes of a yuv420p picture: where it lies, how opaque (0..255), and its luma.

    Left, top, right and bottom are even; the text has no colour.
    """

    left: int
    top: int
    right: int
    bottom: int
    alpha: NDArray[np.uint8]
    luma: NDArray[np.uint8]


def layer(text: str, width: int, height: int) -> Layer | None:
    """The text drawn for a picture of this size in pixels; None when there is nothing to draw.

    At most two lines, shrunk until they fit. Characters the font has no picture of are left out.
    """
    words = drawable(text).split()
    if not words:
        return None
    unit = width / 1080
    left, right = round(SIDE * unit), width - round(SIDE * unit)
    top, bottom = round(TOP * height / 1920), height - round(BOTTOM * height / 1920)
    shadow = max(1, round(SHADOW * unit))
    font, lines = _fitted(words, right - left - 2 * shadow, unit)
    outline = _outline(font.size)
    spacing = round(font.size * 1.22)
    white = Image.new("L", (width, height))
    dark = Image.new("L", (width, height))
    for number, line in enumerate(reversed(lines)):
        # From the middle of the bottom line upwards; a descender and the shadow still lie inside.
        at = (width / 2, bottom - shadow - outline - round(font.size * 0.28) - number * spacing)
        ImageDraw.Draw(white).text(at, line, 255, font, anchor="ms")
        ImageDraw.Draw(dark).text(at, line, 255, font, anchor="ms", stroke_width=outline, stroke_fill=255)
    soft = dark.filter(ImageFilter.GaussianBlur(shadow / 2.5))
    safe = (_even_up(left), _even_up(top), right & ~1, bottom & ~1)
    box = soft.crop(safe).getbbox()
    if box is None:
        return None
    x0, y0 = (safe[0] + box[0]) & ~1, (safe[1] + box[1]) & ~1
    x1, y1 = min(safe[2], _even_up(safe[0] + box[2])), min(safe[3], _even_up(safe[1] + box[3]))
    cut = (x0, y0, x1, y1)
    fill, edge, shade = (np.asarray(image.crop(cut), np.float32) / 255 for image in (white, dark, soft))
    alpha = 1 - (1 - edge) * (1 - 0.55 * shade)
    luma = 16 + 219 * fill / np.maximum(alpha, 1e-3)
    return Layer(x0, y0, x1, y1, np.round(alpha * 255).astype(np.uint8), np.clip(luma, 16, 235).astype(np.uint8))


def drawable(text: str) -> str:
    """The text without the characters the font has no picture of, such as emoji."""
    return "".join(letter for letter in text if letter.isspace() or _has(letter))


@lru_cache(maxsize=4096)
def _has(letter: str) -> bool:
    return _mask(letter) != _mask("\U0010fffe")


def _mask(letter: str) -> bytes:
    return bytes(_font(32).getmask(letter))


@lru_cache(maxsize=128)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The plain layout is part of Pillow itself; the other depends on what the machine has installed.
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


def _fitted(words: list[str], room: int, unit: float) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """The largest letters with which the words fit into two lines of `room` pixels, and those lines."""
    largest = max(1, round(LARGEST * unit))
    lines = _broken(words, _font(largest), room - 2 * _outline(largest))
    for size in range(largest, 0, -1):
        font = _font(size)
        if max(font.getlength(line) for line in lines) + 2 * _outline(size) <= room:
            break
    return font, lines


def _broken(words: list[str], font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    """One line where it fits, else two as alike in length as the words allow."""
    whole = " ".join(words)
    if len(words) == 1 or font.getlength(whole) <= room:
        return [whole]
    pairs = [[" ".join(words[:n]), " ".join(words[n:])] for n in range(1, len(words))]
    return min(pairs, key=lambda pair: max(font.getlength(line) for line in pair))


def _outline(size: float) -> int:
    return max(1, round(size * OUTLINE))


def _even_up(number: int) -> int:
    return (number + 1) & ~1
