"""Captions are drawn where no platform covers them."""

from __future__ import annotations

import numpy as np
import pytest

from providers.media.glyphs import strip_missing_glyphs
from providers.media.overlay import draw_overlay
from providers.media.video_frames import apply_overlay, create_frame, view_planes
from tests.media.made_fonts import use_fonts


def draw_on_grey(text: str, width: int, height: int):
    """Draw the caption on a grey frame, and return the bounds of the changed pixels, and the luma."""
    frame = create_frame(width, height)
    for plane, value in zip(view_planes(frame), (100, 128, 128), strict=True):
        plane[...] = value
    apply_overlay(frame, draw_overlay(text, width, height), 1.0)
    luma = view_planes(frame)[0]
    rows, columns = np.nonzero(luma != 100)
    return (columns.min(), rows.min(), columns.max(), rows.max()), luma


TEXTS = {
    "short": "Go",
    "usual": "The desert keeps every secret",
    "descenders and accents": "Ågypq Ġjj Ŷ",
    "one long word": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk",
    "longest": "word " * 40,
    "Greek and Cyrillic": "Όλα ρέει, всё течёт",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [(1080, 1920), (360, 640)], ids=["1080", "360"])
def test_a_caption_is_inside_the_safe_zone(text, size):
    """No pixel outside the safe zone changes, outline and shadow included."""
    width, height = size
    scale = width / 1080

    (left, top, right, bottom), _ = draw_on_grey(text, width, height)

    assert left >= 192 * scale
    assert right < width - 192 * scale
    assert top >= 288 * scale
    assert bottom < height - 672 * scale


def test_a_caption_is_white_with_a_dark_outline():
    """It is readable on any background."""
    (left, top, right, bottom), luma = draw_on_grey("Neon never sleeps", 1080, 1920)

    area = luma[top:bottom, left:right]
    assert ((area > 230).mean() > 0.1, (area < 30).mean() > 0.05) == (True, True)


def test_a_usual_caption_has_two_lines_and_none_has_more_than_five():
    """The end of a text of an earlier version that is longer is left out."""
    heights = {}
    for name in ("usual", "longest"):
        (_, top, _, bottom), _ = draw_on_grey(TEXTS[name], 1080, 1920)
        heights[name] = bottom - top

    assert heights["usual"] < 2 * 76 * 1.6
    assert 4 * 60 * 1.2 < heights["longest"] < 5 * 76 * 1.3


@pytest.mark.parametrize("text", ["", "   ", "🎉🎉", "日本"])
def test_a_text_without_glyphs_has_no_caption(text, monkeypatch):
    """Characters without a glyph are omitted, not drawn as boxes."""
    use_fonts(monkeypatch)

    assert draw_overlay(text, 1080, 1920) is None


def test_only_characters_without_a_glyph_are_omitted(monkeypatch):
    """All other characters are kept."""
    use_fonts(monkeypatch)

    assert strip_missing_glyphs("Party 🎉 für alle — всем") == "Party  für alle — всем"
