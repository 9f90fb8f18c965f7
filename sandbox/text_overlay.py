"""Text overlay of a picture: its title and the SANDBOX marks, as masks to blend."""

import textwrap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Mask = NDArray[np.uint16]

MAX_TITLE_LENGTH = 60


@dataclass(frozen=True)
class TextOverlay:
    """Masks, 0..255, of the text and of the shadow that keeps it readable; their first row is picture row `top`."""

    text: Mask
    shadow: Mask
    top: int


def shorten_title(prompt: str) -> str:
    """Return the first words of a prompt, at most MAX_TITLE_LENGTH characters."""
    words = " ".join(prompt.split())
    return textwrap.shorten(words, MAX_TITLE_LENGTH, placeholder="…") if len(words) > MAX_TITLE_LENGTH else words


def render_text_overlay(prompt: str, label: str, width: int, height: int) -> TextOverlay:
    """Return the title of the prompt, a SANDBOX label in the corner and a faint diagonal mark."""
    unit = min(width, height) / 720
    text = Image.new("L", (width, height), 0)
    _draw_title(ImageDraw.Draw(text), shorten_title(prompt), width, height, unit)
    _draw_corner_label(ImageDraw.Draw(text), label, width, height, unit)
    darker = [min(190, int(value * 2.4)) for value in range(256)]
    shadow_image = text.filter(ImageFilter.GaussianBlur(10 * unit)).point(darker)
    marked = np.maximum(np.asarray(text), np.asarray(_render_diagonal_mark(width, height, unit))).astype(np.uint16)
    shadow = np.asarray(shadow_image).astype(np.uint16)
    rows = np.flatnonzero((marked.max(axis=1) > 0) | (shadow.max(axis=1) > 0))
    # The chroma planes have half the rows of the luma plane: an even first row keeps the masks aligned.
    top, bottom = int(rows[0]) & ~1, int(rows[-1]) + 1
    return TextOverlay(marked[top:bottom], shadow[top:bottom], top)


def _load_font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, round(size)))


def _draw_title(draw: ImageDraw.ImageDraw, text: str, width: int, height: int, unit: float) -> None:
    """Draw the title centred above the middle; the lower third is left free for captions."""
    font = _load_font(38 * unit)
    per_line = max(8, int(width * 0.80 / (draw.textlength("abcdefghij", font=font) / 10)))
    lines = textwrap.wrap(text, per_line)[:3]
    line_height = 50 * unit
    top = height * 0.42 - len(lines) * line_height
    for number, line in enumerate(lines):
        left = (width - draw.textlength(line, font=font)) / 2
        draw.text((left, top + number * line_height), line, 255, font)


def _draw_corner_label(draw: ImageDraw.ImageDraw, label: str, width: int, height: int, unit: float) -> None:
    left, top = width * 0.07, height * 0.165
    draw.text((left, top), "SANDBOX", 235, _load_font(34 * unit))
    draw.text((left, top + 42 * unit), label, 185, _load_font(18 * unit))


def _render_diagonal_mark(width: int, height: int, unit: float) -> Image.Image:
    font = _load_font(128 * unit)
    left, top, right, bottom = font.getbbox("SANDBOX")
    word = Image.new("L", (round(right - left), round(bottom - top)), 0)
    ImageDraw.Draw(word).text((-left, -top), "SANDBOX", 26, font)
    turned = word.rotate(58 if height > width else 26, resample=Image.Resampling.BICUBIC, expand=True)
    sheet = Image.new("L", (width, height), 0)
    sheet.paste(turned, ((width - turned.width) // 2, (height - turned.height) // 2))
    return sheet
