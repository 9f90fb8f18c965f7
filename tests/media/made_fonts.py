"""Fonts made here: each of their letters is a bar of its own width or height, so that it is found in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from fontTools.colorLib.builder import buildCOLR, buildCPAL
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from providers.media.glyphs import SHAPING_PACKAGES

UNITS, BAR_HEIGHT = 1000, 800
#: The first form of an Arabic letter is drawn half as high, if the text is shaped.
JOINING = "languagesystem DFLT dflt; languagesystem arab dflt; feature init { sub u0628 by u0628.init; } init;"


def use_fonts(monkeypatch, *folders: Path) -> None:
    """Make these the only folders of fonts of this machine. Skip a test that needs fonts and cannot use any."""
    if folders and SHAPING_PACKAGES:
        pytest.skip(f"fonts of the machine are not used without {' and '.join(SHAPING_PACKAGES)}: install it")
    monkeypatch.setenv("XDG_DATA_DIRS", ":".join(map(str, folders)) or "/nonexistent")


def write_font(path: Path, widths: Mapping[str, int], *, features: str = "", colour: str = "") -> Path:
    """Write a font with a bar of this width (in thousandths of the font size) for each character.

    With a colour (#rrggbb) the glyphs are drawn in that colour.
    """
    names = {character: f"u{ord(character):04X}" for character in widths}
    builder = FontBuilder(UNITS, isTTF=True)
    forms = [f"{name}.init" for name in names.values()] if features else []
    builder.setupGlyphOrder([".notdef", *names.values(), *forms])
    builder.setupCharacterMap({ord(character): name for character, name in names.items()})
    bars = {names[character]: (width, BAR_HEIGHT) for character, width in widths.items()}
    bars |= {f"{name}.init": (width, BAR_HEIGHT // 2) for name, (width, _) in bars.items() if features}
    bars[".notdef"] = (100, 100)
    builder.setupGlyf({name: _bar(*size) for name, size in bars.items()})
    builder.setupHorizontalMetrics({name: (width + 100, 50) for name, (width, _) in bars.items()})
    builder.setupHorizontalHeader(ascent=BAR_HEIGHT, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Bold"})
    builder.setupOS2()
    builder.setupPost()
    if features:
        builder.addOpenTypeFeatures(features)
    if colour:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        builder.font["COLR"] = buildCOLR({name: [(name, 0)] for name in names.values()}, version=0)
        builder.font["CPAL"] = buildCPAL([[(*channels, 1.0)]])
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


def _bar(width: int, height: int):
    pen = TTGlyphPen(None)
    corners = [(50, 0), (50, height), (50 + width, height), (50 + width, 0)]
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()
