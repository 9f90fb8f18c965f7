"""Text is laid where no platform covers it."""

from __future__ import annotations

import numpy as np
import pytest

from providers.media import picture
from providers.media.overlay import drawable, layer


def written(text: str, width: int, height: int):
    """Where a grey picture changes when the text is laid over it, and the luma there."""
    canvas = picture.blank(width, height)
    for plane, value in zip(picture.planes(canvas), (100, 128, 128), strict=True):
        plane[...] = value
    picture.write(canvas, layer(text, width, height), 1.0)
    luma = picture.planes(canvas)[0]
    rows, columns = np.nonzero(luma != 100)
    return (columns.min(), rows.min(), columns.max(), rows.max()), luma


TEXTS = {
    "short": "Go",
    "usual": "The desert keeps every secret",
    "deep and high": "Ågypq Ġjj Ŷ",
    "one long word": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk",
    "the longest": "word " * 40,
    "Greek and Cyrillic": "Όλα ρέει, всё течёт",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [(1080, 1920), (360, 640)], ids=["1080", "360"])
def test_text_lies_inside_the_safe_zone(text, size):
    """Not one pixel is changed outside, outline and shadow included."""
    width, height = size
    unit = width / 1080

    (left, top, right, bottom), _ = written(text, width, height)

    assert left >= 192 * unit
    assert right < width - 192 * unit
    assert top >= 288 * unit
    assert bottom < height - 672 * unit


def test_text_is_white_on_a_dark_outline():
    """It can be read on any picture."""
    (left, top, right, bottom), luma = written("Neon never sleeps", 1080, 1920)

    part = luma[top:bottom, left:right]
    assert ((part > 230).mean() > 0.1, (part < 30).mean() > 0.05) == (True, True)


def test_text_stays_within_two_lines():
    """A usual text is as large as can be; a long one is smaller and no taller."""
    heights = {}
    for name in ("usual", "the longest"):
        (_, top, _, bottom), _ = written(TEXTS[name], 1080, 1920)
        heights[name] = bottom - top

    assert heights["the longest"] < heights["usual"] < 2 * 76 * 1.6


@pytest.mark.parametrize("text", ["", "   ", "🎉🎉", "日本"])
def test_nothing_to_draw_is_no_layer(text):
    """What the font cannot draw is left out rather than drawn as boxes."""
    assert layer(text, 1080, 1920) is None


def test_only_what_the_font_lacks_is_left_out():
    """The rest of the text stays."""
    assert drawable("Party 🎉 für alle — всем") == "Party  für alle — всем"
