"""The font of the overlays, and the characters that it can draw."""

import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

FONT_PATH = Path(__file__).with_name("fonts") / "Inter-ExtraBold.otf"

_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


def strip_missing_glyphs(text: str) -> str:
    """Return the text without the characters that the font has no glyph for, such as emoji."""
    return "".join(character for character in text if character.isspace() or _has_glyph(character))


def require_drawable(text: str) -> str:
    """Return the text as it is drawn: composed, and without invisible format characters.

    Raises ValueError naming the characters that cannot be drawn.
    """
    composed = "".join(filter(_is_visible, unicodedata.normalize("NFC", text)))
    drawn = strip_missing_glyphs(composed)
    if missing := [character for character in dict.fromkeys(composed) if character not in drawn]:
        names = " ".join(missing[:10])
        raise ValueError(f"the font of the film cannot draw {names}; use Latin, Greek or Cyrillic letters and no emoji")
    return composed


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) != "Cf" and ord(character) not in _VARIATION_SELECTORS


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    return _glyph_mask(character) != _glyph_mask("\U0010fffe")


def _glyph_mask(character: str) -> bytes:
    return bytes(load_font(32).getmask(character))


@lru_cache(maxsize=128)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font in this size in pixels."""
    # The basic layout engine is part of Pillow; the other one depends on libraries of the machine.
    return ImageFont.truetype(FONT_PATH, size, layout_engine=ImageFont.Layout.BASIC)
