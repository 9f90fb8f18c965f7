"""Overlays of any language: how they are broken into lines, which font draws them, and which are refused."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from providers.media.overlay import draw_overlay
from providers.media.text_layout import require_drawable
from providers.media.video_frames import apply_overlay, create_frame
from tests.media.made_fonts import JOINING, use_fonts, write_font

SIZE = (1080, 1920)
SHY = "\u00ad"


def draw(text: str, width: int = 1080, height: int = 1920) -> np.ndarray:
    """Return the RGB picture of the text over black."""
    frame = create_frame(width, height)
    for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    if overlay := draw_overlay(text, width, height):
        apply_overlay(frame, overlay, 1.0)
    return frame.to_ndarray(format="rgb24")


def spans(is_ink: np.ndarray) -> list[tuple[int, int]]:
    """Return the start and the end of each series of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_ink, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def lines(picture: np.ndarray) -> list[int]:
    """Return the height of the ink of each line."""
    rows = [end - start for start, end in spans((picture.max(axis=2) > 200).any(axis=1))]
    return [height for height in rows if height > 12]  # no dots of an i


def bars(picture: np.ndarray) -> list[int]:
    """Return the widths of the bars of the last line, from left to right."""
    is_ink = picture.max(axis=2) > 200
    top, bottom = spans(is_ink.any(axis=1))[-1]
    return [end - start for start, end in spans(is_ink[top:bottom].any(axis=0))]


WIDE = {
    "a word of 60 letters": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunte",
    "a URL": "https://example.com/watch?v=dQw4w9WgXcQ&list=PLrAXtmErZgOeiKm",
    "digits": "3.14159265358979323846264338327950288419716939937510582097494"[:60],
    "Greek": "Ηλεκτροεγκεφαλογραφήματα και σπουδαιοτέρων ανθρώπων ΟΛΩΝ",
    "a sentence": "The quick brown fox jumps over the lazy dog, twice, HURRIED",
    "capitals": "EVERY SINGLE WORD OF THIS IS WRITTEN IN CAPITALS",
}


@pytest.mark.parametrize("size", [(1080, 1920), (720, 1280)], ids=["1080", "720"])
@pytest.mark.parametrize("name", WIDE)
def test_a_wide_text_is_broken_and_stays_large(name, size):
    """Capitals are 0.73 of the font size high, which is at least 40 px where a film is 720 wide."""
    heights = lines(draw(require_drawable(WIDE[name]), *size))

    assert 2 <= len(heights) <= 5
    assert min(heights) >= 0.72 * 40 * size[0] / 720


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (f"Donau{SHY}dampf", "Donaudampf"),
        (f"Donau{SHY}dampf{SHY}schiff{SHY}fahrt", "Donaudampf- schifffahrt"),
        (f"Un{SHY}glaub{SHY}lich", "Unglaublich"),
        (f"Rindfleisch{SHY}etikettierung", "Rindfleisch- etikettierung"),
        ("https://example.com/watch/tonight", "https:// example.com/ watch/tonight"),
        ("Self-contained-lighthouses", "Self-contained- lighthouses"),
        ("wonder\u200bfulness\u200bunlimited", "wonderfulness unlimited"),
        ("No\u00a0break of\u00a0these wordsss", "No\u00a0break of\u00a0these\nwordsss"),
    ],
    ids=ascii,
)
def test_lines_break_where_unicode_allows_it(text, same):
    """A soft hyphen is seen only at the end of a line."""
    picture = draw(text)

    assert len(lines(picture)) == (2 if "- " in same or "/ " in same or " u" in same or "\n" in same else 1)
    assert np.array_equal(picture, draw(same.replace(":// ", "://").replace("\n", " ")))


@pytest.mark.parametrize("text", ["W" * 60, "WM" * 30, "MAMMOTH " * 7 + "WOMB", "@%" * 30], ids=lambda text: text[:8])
def test_a_text_that_is_too_wide_is_refused_with_the_longest_that_fits(text):
    """One character more does not fit."""
    with pytest.raises(ValueError, match=r"at most its first [0-9]+ characters fit") as raised:
        require_drawable(text)

    longest = int("".join(filter(str.isdigit, str(raised.value))))
    assert require_drawable(text[:longest]) == text[:longest]
    with pytest.raises(ValueError, match=f"first {longest} characters"):
        require_drawable(text[: longest + 1].strip() if text[longest] != " " else text[: longest + 2])
    assert np.array_equal(draw(text), draw(text[:longest]))


MISSING = {
    "日本の夜": "fonts-noto-cjk",
    "ひらがな": "fonts-noto-cjk",
    "서울의 밤": "fonts-noto-cjk",
    "नमस्ते": "fonts-noto-core",
    "مرحبا": "fonts-noto-core",
    "שלום": "fonts-noto-core",
    "สวัสดี": "fonts-noto-core",
    "Party 🎉": "fonts-noto-color-emoji",
    "Love ❤️": "fonts-noto-color-emoji",
    "夜 🎉": "fonts-noto-cjk and fonts-noto-color-emoji",
}


@pytest.mark.parametrize("text", MISSING)
def test_a_script_without_a_font_names_the_package(text, monkeypatch):
    """The characters and the package are in the message; the film omits them."""
    use_fonts(monkeypatch)

    with pytest.raises(ValueError, match=rf"cannot draw .*; install (libfribidi0 and )?{MISSING[text]},"):
        require_drawable(text)

    assert (draw_overlay(text, *SIZE) is None) == (not text.isascii() and text[0] not in "PL")


@pytest.mark.parametrize("text", ["日本の夜", "서울", "สวัสดี", "ქართული", "नमस"])
def test_a_script_is_drawn_with_a_font_of_the_machine(text, tmp_path, monkeypatch):
    """There is a bar for each letter; marks are drawn over the letter before them."""
    write_font(tmp_path / "fonts" / "truetype" / "Made.ttf", dict.fromkeys(text, 500))
    use_fonts(monkeypatch, tmp_path)

    assert require_drawable(text) == text
    assert len(bars(draw(text))) == sum(unicodedata.category(letter) != "Mn" for letter in text)


HEBREW = {"א": 600, "ב": 300, "ג": 150}
WIDTHS = {"wide": pytest.approx(45, abs=3), "middle": pytest.approx(22, abs=3), "narrow": pytest.approx(11, abs=3)}


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("אבג", "narrow middle wide"),
        ("א ב", "middle wide"),
        ("ג א", "wide narrow"),
        ("אב גא", "wide narrow middle wide"),
    ],
)
def test_a_text_is_drawn_from_right_to_left(text, order, tmp_path, monkeypatch):
    """The first letter is at the right, in a word and between words."""
    write_font(tmp_path / "fonts" / "Made.ttf", HEBREW)
    use_fonts(monkeypatch, tmp_path)

    assert bars(draw(text)) == [WIDTHS[width] for width in order.split()]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("אב I", "I middle wide"),
        ("I אב", "I middle wide"),
        ("I אב II", "I middle wide I I"),
        ("אב I II", "I I I middle wide"),
        ("אב I גא", "wide narrow I middle wide"),
        ("I אב גא I", "I wide narrow middle wide I"),
        ("I אב, I", "I middle wide comma I"),
    ],
)
def test_words_of_two_directions_have_the_order_of_the_first(text, order, tmp_path, monkeypatch):
    """The direction of the first letter is that of the text; words of one direction stay together."""
    write_font(tmp_path / "fonts" / "Made.ttf", HEBREW)
    use_fonts(monkeypatch, tmp_path)
    widths = WIDTHS | {"I": pytest.approx(bars(draw("I"))[0], abs=3), "comma": pytest.approx(bars(draw(","))[0], abs=3)}

    assert bars(draw(text)) == [widths[word] for word in order.split()]


def test_letters_are_joined(tmp_path, monkeypatch):
    """The first of two Arabic letters has its initial form, which the font draws half as high."""
    write_font(tmp_path / "fonts" / "Made.ttf", {"\u0628": 400}, features=JOINING)
    use_fonts(monkeypatch, tmp_path)

    is_ink = draw("\u0628\u0628").max(axis=2) > 200
    (left, right) = spans(is_ink.any(axis=0))
    heights = [np.count_nonzero(is_ink[:, start:end].any(axis=1)) for start, end in (left, right)]

    assert heights[0] == pytest.approx(2 * heights[1], abs=2)


@pytest.mark.parametrize(
    ("emoji", "colour"), [("🎉", "#e02020"), ("👞", "#2060e0"), ("✨", "#20c040"), ("❤️", "#e02080")]
)
def test_emoji_are_drawn_in_colour(emoji, colour, tmp_path, monkeypatch):
    """The picture has the colour of the font, within 12 of 255 per channel; other letters are white."""
    write_font(tmp_path / "fonts" / "MadeEmoji.ttf", {emoji[0]: 700}, colour=colour)
    use_fonts(monkeypatch, tmp_path)

    picture = draw(require_drawable(f"Go {emoji}"))

    start, end = spans((picture.max(axis=2) > 120).any(axis=0))[-1]
    top, bottom = spans((picture[:, start:end].max(axis=2) > 120).any(axis=1))[-1]
    found = picture[(top + bottom) // 2, (start + end) // 2]
    assert found == pytest.approx([int(colour[at : at + 2], 16) for at in (1, 3, 5)], abs=12)
    assert picture[:, : start - 8].max(axis=(0, 1)) == pytest.approx([255] * 3, abs=4)


def test_a_black_and_white_font_draws_no_emoji(tmp_path, monkeypatch):
    """Emoji are drawn in colour, or refused."""
    write_font(tmp_path / "fonts" / "Made.ttf", {"🎉": 700})
    use_fonts(monkeypatch, tmp_path)

    with pytest.raises(ValueError, match="cannot draw 🎉"):
        require_drawable("🎉")


def test_a_damaged_font_is_ignored(tmp_path, monkeypatch):
    """Another font of the machine draws the text."""
    write_font(tmp_path / "fonts" / "Made.ttf", {"夜": 500})
    (tmp_path / "fonts" / "Broken-Sans-CJK-Bold.ttf").write_bytes(b"no font")
    use_fonts(monkeypatch, tmp_path)

    assert len(bars(draw(require_drawable("夜夜")))) == 2
