"""The fonts of the overlays: that of the film, and those of this machine for the characters that it does not have."""

import os
import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont, features
from uniseg.emoji import emoji_presentation
from uniseg.graphemecluster import grapheme_clusters

FONT_PATH = Path(__file__).with_name("fonts") / "Inter-ExtraBold.otf"
#: What letters are joined and ordered with, if it is missing: fonts of the machine are not used without it.
SHAPING_PACKAGES = [] if features.check("raqm") else ["libfribidi0"]
_BITMAP_PX = 109  # the only size of a font of emoji that has pictures
_EMOJI_PACKAGE, _CJK_PACKAGE = "fonts-noto-color-emoji", "fonts-noto-cjk"
_CJK_NAMES = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")
#: The grapheme clusters of a text: what a reader takes for one character.
split_clusters = lru_cache(maxsize=1024)(lambda text: tuple(grapheme_clusters(text)))


def strip_missing_glyphs(text: str) -> str:
    """Return the text without the characters that no font of this machine draws."""
    return "".join(filter(find_font, split_clusters(text)))


def find_missing_glyphs(text: str) -> list[str]:
    """Return the characters of the text that no font of this machine draws, each once."""
    return [cluster for cluster in dict.fromkeys(split_clusters(text)) if not find_font(cluster)]


def find_font(cluster: str) -> Path | None:
    """Return the font that draws this grapheme cluster; None without one. Emoji need a font in colour."""
    return _find_font(cluster, os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share")


@lru_cache(maxsize=4096)
def _find_font(cluster: str, folders: str) -> Path | None:
    package, script = package_for(cluster), unicodedata.name(cluster[0], "").partition(" ")[0]
    word = {_EMOJI_PACKAGE: "EMOJI", _CJK_PACKAGE: "CJK"}.get(package, script)
    fonts = [FONT_PATH, *sorted(_fonts_in(folders), key=lambda font: word not in font.name.upper())]
    fonts = [font for font in fonts if ("Emoji" in font.name) == (package == _EMOJI_PACKAGE)]
    drawn = [character for character in cluster if not is_invisible(character) and not character.isspace()]
    return next((font for font in fonts if all(_has_glyph(font, character) for character in drawn)), None)


@lru_cache(maxsize=8)
def _fonts_in(folders: str) -> list[Path]:
    """Return the fonts in the folders, those first that are like the font of the film: sans-serif, bold and upright."""
    places = [] if SHAPING_PACKAGES else folders.split(":")
    found = [font for folder in places for font in Path(folder, "fonts").rglob("*.[ot]t[fc]")]
    return sorted(found, key=lambda font: ("Sans" not in font.name, "-Bold" not in font.name, font.name))


def package_for(cluster: str) -> str:
    """Return the Debian package with a font for this character."""
    if "\ufe0f" in cluster or (emoji_presentation(cluster[0]) and "\ufe0e" not in cluster):
        return _EMOJI_PACKAGE
    return _CJK_PACKAGE if unicodedata.name(cluster[0], "").startswith(_CJK_NAMES) else "fonts-noto-core"


def is_invisible(character: str) -> bool:
    """Return whether the character only selects or formats what is beside it."""
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


@lru_cache(maxsize=16_384)
def _has_glyph(path: Path, character: str) -> bool:
    try:
        font = load_font(path, 32)
    except OSError:  # a damaged file
        return False
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))


@lru_cache(maxsize=1024)
def load_font(path: Path, size: int, *, is_rtl: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font in this size in pixels, or in the only size that it has."""
    # The basic layout engine is part of Pillow; the other one depends on a library of the machine.
    engine = ImageFont.Layout.BASIC if path == FONT_PATH and not is_rtl else ImageFont.Layout.RAQM
    try:
        return ImageFont.truetype(path, size, layout_engine=engine)
    except OSError:
        return ImageFont.truetype(path, _BITMAP_PX, layout_engine=engine)
