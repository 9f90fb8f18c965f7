"""Draw a caption overlay: white text with a dark outline, inside the area that no platform covers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from providers.media.glyphs import load_font, strip_missing_glyphs

# Lengths are pixels of a frame 1080 wide; the margins of the safe zone are pixels of a 1080x1920 frame.
SAFE_SIDE_PX, SAFE_TOP_PX, SAFE_BOTTOM_PX = 192, 288, 672
MAX_FONT_PX = 76
SHADOW_PX = 14
OUTLINE_RATIO = 0.085  # of the font size


@dataclass(frozen=True)
class Overlay:
    """A caption as planes for a yuv420p frame: its rectangle in pixels, its opacity (0..255) and its luma.

    Left, top, right and bottom are even; the text has no chroma.
    """

    left: int
    top: int
    right: int
    bottom: int
    alpha: NDArray[np.uint8]
    luma: NDArray[np.uint8]


def draw_overlay(text: str, width: int, height: int) -> Overlay | None:
    """Return the caption drawn for a frame of this size in pixels; None when there is nothing to draw.

    The caption has at most two lines, shrunk until they fit. Characters without a glyph are omitted.
    """
    words = strip_missing_glyphs(text).split()
    if not words:
        return None
    scale = width / 1080
    left, right = round(SAFE_SIDE_PX * scale), width - round(SAFE_SIDE_PX * scale)
    top, bottom = round(SAFE_TOP_PX * height / 1920), height - round(SAFE_BOTTOM_PX * height / 1920)
    shadow = max(1, round(SHADOW_PX * scale))
    font, lines = _fit_lines(words, right - left - 2 * shadow, scale)
    outline = _outline_width(font.size)
    line_height = round(font.size * 1.22)
    white = Image.new("L", (width, height))
    dark = Image.new("L", (width, height))
    for number, line in enumerate(reversed(lines)):
        # Centred, from the bottom line upwards, with room for descenders and the shadow inside the safe zone.
        baseline = (width / 2, bottom - shadow - outline - round(font.size * 0.28) - number * line_height)
        ImageDraw.Draw(white).text(baseline, line, 255, font, anchor="ms")
        ImageDraw.Draw(dark).text(baseline, line, 255, font, anchor="ms", stroke_width=outline, stroke_fill=255)
    blurred = dark.filter(ImageFilter.GaussianBlur(shadow / 2.5))
    safe_zone = (_round_up_to_even(left), _round_up_to_even(top), right & ~1, bottom & ~1)
    bounds = blurred.crop(safe_zone).getbbox()
    if bounds is None:
        return None
    x0, y0 = (safe_zone[0] + bounds[0]) & ~1, (safe_zone[1] + bounds[1]) & ~1
    x1 = min(safe_zone[2], _round_up_to_even(safe_zone[0] + bounds[2]))
    y1 = min(safe_zone[3], _round_up_to_even(safe_zone[1] + bounds[3]))
    rectangle = (x0, y0, x1, y1)
    fill, edge, shade = (np.asarray(image.crop(rectangle), np.float32) / 255 for image in (white, dark, blurred))
    alpha = 1 - (1 - edge) * (1 - 0.55 * shade)
    luma = np.clip(16 + 219 * fill / np.maximum(alpha, 1e-3), 16, 235)
    return Overlay(x0, y0, x1, y1, np.round(alpha * 255).astype(np.uint8), luma.astype(np.uint8))


def _fit_lines(words: list[str], max_width: int, scale: float) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """Return the largest font with which the words fit into two lines of `max_width` pixels, and those lines."""
    max_size = max(1, round(MAX_FONT_PX * scale))
    lines = _break_lines(words, load_font(max_size), max_width - 2 * _outline_width(max_size))
    for size in range(max_size, 0, -1):
        font = load_font(size)
        if max(font.getlength(line) for line in lines) + 2 * _outline_width(size) <= max_width:
            break
    return font, lines


def _break_lines(words: list[str], font: ImageFont.FreeTypeFont, max_width: float) -> list[str]:
    """Return one line if it fits, else two lines of the most equal width."""
    whole = " ".join(words)
    if len(words) == 1 or font.getlength(whole) <= max_width:
        return [whole]
    pairs = [[" ".join(words[:n]), " ".join(words[n:])] for n in range(1, len(words))]
    return min(pairs, key=lambda pair: max(font.getlength(line) for line in pair))


def _outline_width(font_size: float) -> int:
    return max(1, round(font_size * OUTLINE_RATIO))


def _round_up_to_even(number: int) -> int:
    return (number + 1) & ~1
