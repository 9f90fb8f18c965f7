"""Draw the texts of a film inside the area that no platform covers: white, with a dark outline or a soft shadow."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from providers.media.glyphs import FONT_PATH, load_font, strip_missing_glyphs
from providers.media.text_layout import TextLayout, TextRun, TextStyle, fit_lines, fit_start, split_words

# Lengths are pixels of a frame 1080 wide; the margins of the safe zone are pixels of a 1080x1920 frame.
WIDTH_PX = 1080
SAFE_SIDE_PX, SAFE_TOP_PX, SAFE_BOTTOM_PX = 192, 288, 672
DRAWN_PX = WIDTH_PX - 2 * SAFE_SIDE_PX
SHADOW_PX = 14
OUTLINE_RATIO = 0.085  # of the font size
HEADING, NOTE = TextStyle(116, 52, 5), TextStyle(44, 44, 1)
PREVIEW_SIZE = 270, 480
BAR_SIZE_PX, TEXT_GAP_PX, NOTE_GAP_PX = (210, 10), 32, 40


class WordArea(NamedTuple):
    """The part of an overlay, in its pixels, with a word, which is numbered in the order in which words are read."""

    word: int
    rows: slice
    columns: slice


class Overlay(NamedTuple):
    """A text: its left upper corner in a frame (even pixels), its opacity (0..255) and its picture (yuv420p).

    `words` are areas that share no pixel; none for a text that appears as a whole.
    """

    left: int
    top: int
    alpha: NDArray[np.uint8]
    picture: VideoFrame
    words: tuple[WordArea, ...] = ()


class Card(NamedTuple):
    """The texts of a card, from top to bottom with a bar below the heading, and the colour of the bar (#rrggbb)."""

    kicker: str
    heading: str
    note: str
    accent: str
    is_centred: bool


class _PlacedRun(NamedTuple):
    run: TextRun
    x: float
    baseline: int
    line: int


def draw_overlay(text: str, width: int, height: int, *, has_words: bool = False) -> Overlay | None:
    """Return as much of the text as can be drawn, for a frame of this size in pixels; None if that is nothing.

    With `has_words` the overlay has the areas of its words.
    """
    layout = fit_lines(fit_start(strip_missing_glyphs(text)))
    if layout is None:
        return None
    layout = split_words(layout) if has_words else layout
    zone, outline = _SafeZone(width, height), round(layout.size * OUTLINE_RATIO)
    bottom = zone.height - SHADOW_PX - outline
    placed = list(_place_runs(layout, bottom - round((0.45 if _is_high(layout) else 0.28) * layout.size)))
    zone.draw(placed, layout.size, outline=outline)
    overlay = zone.finish()
    return overlay._replace(words=tuple(_find_words(placed, layout.size, overlay, zone))) if has_words else overlay


def draw_preview(text: str) -> bytes:
    """Return a PNG file of a small frame, transparent but for as much of the text as a film shows."""
    image = Image.new("RGBA", PREVIEW_SIZE)
    if overlay := draw_overlay(text, *PREVIEW_SIZE):
        drawn = Image.fromarray(overlay.picture.to_ndarray(format="rgb24"))
        drawn.putalpha(Image.fromarray(overlay.alpha))
        image.paste(drawn, (overlay.left, overlay.top))
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def draw_card(card: Card, width: int, height: int) -> Overlay | None:
    """Return the texts of the card at the bottom of the safe zone of a frame of this size; None without any."""
    zone = _SafeZone(width, height)
    texts = ((card.kicker, NOTE), (card.heading, HEADING), (card.note, NOTE))
    kicker, heading, note = (fit_lines(fit_start(strip_missing_glyphs(text), style), style) for text, style in texts)
    align = "centre" if card.is_centred else "right" if heading and heading.is_rtl else "left"
    y = zone.draw_lines(kicker, 0, align, card.accent)
    y = zone.draw_lines(heading, y, align)
    if heading:
        left = {"left": 0, "centre": 0.5, "right": 1.0}[align] * (DRAWN_PX - BAR_SIZE_PX[0])
        box = (left, y, left + BAR_SIZE_PX[0], y + BAR_SIZE_PX[1])
        ImageDraw.Draw(zone.letters).rounded_rectangle(box, BAR_SIZE_PX[1] / 2, card.accent)
        y += BAR_SIZE_PX[1] + NOTE_GAP_PX
    y = zone.draw_lines(note, y, align)
    return zone.finish(max(SHADOW_PX, zone.height - y)) if zone.letters.getbbox() else None


class _SafeZone:
    """The area of a frame that no platform covers, to draw on in the size that it has in a frame 1080 wide."""

    def __init__(self, width: int, height: int) -> None:
        self.left, self.top = 2 * ceil(SAFE_SIDE_PX * width / WIDTH_PX / 2), 2 * ceil(SAFE_TOP_PX * height / 1920 / 2)
        self.size = (width - 2 * self.left, height - self.top - 2 * ceil(SAFE_BOTTOM_PX * height / 1920 / 2))
        self.height = DRAWN_PX * self.size[1] // self.size[0]
        #: Letters in their colours, and what is opaque around them.
        self.letters = Image.new("RGBA", (DRAWN_PX, self.height), (255, 255, 255, 0))
        self.dark = Image.new("L", self.letters.size)

    def draw_lines(self, layout: TextLayout | None, y: int, align: str, colour: str = "white") -> int:
        """Draw the lines below `y`, and return where the next text starts."""
        if layout is None:
            return y
        y += round((1.1 if _is_high(layout) else 0.8) * layout.size) + (len(layout.lines) - 1) * _pitch(layout)
        self.draw(_place_runs(layout, y, align), layout.size, colour=colour)
        return y + round(0.3 * layout.size) + TEXT_GAP_PX

    def draw(self, placed: Iterable[_PlacedRun], size: int, *, outline: int = 0, colour: str = "white") -> None:
        """Draw the letters, and their outline on the other layer."""
        for run, x, y, _ in placed:
            font, direction = load_font(run.font, size, is_rtl=run.is_rtl), "rtl" if run.is_rtl else None
            if font.size == size:
                pen = ImageDraw.Draw(self.letters)
                pen.text((x, y), run.text, colour, font, "ls", direction=direction, embedded_color=True)
                pen = ImageDraw.Draw(self.dark)
                pen.text((x, y), run.text, 255, font, "ls", direction=direction, stroke_width=outline)
            else:
                picture = Image.new("RGBA", (round(font.getlength(run.text)), round(2 * font.size)))
                ImageDraw.Draw(picture).text((0, picture.height), run.text, None, font, "ld", embedded_color=True)
                picture = picture.resize((round(run.width(size)), 2 * size))
                self.letters.alpha_composite(picture, (round(x), round(y - 1.75 * size)))

    def finish(self, offset: int = 0) -> Overlay:
        """Return what is drawn, moved down by so many pixels, with a shadow, in the size of the frame."""
        drawn, dark = (ImageChops.offset(layer, 0, offset) for layer in (self.letters, self.dark))
        dark = ImageChops.lighter(dark, drawn.getchannel("A"))
        shadow = dark.filter(ImageFilter.GaussianBlur(SHADOW_PX / 2.5)).point(lambda value: round(0.55 * value))
        large = (drawn, ImageChops.screen(dark, shadow))
        letters, opacity = (image.resize(self.size, Image.Resampling.BOX) for image in large)
        x0, y0, x1, y1 = opacity.getbbox() or (0, 0, 2, 2)
        box = (x0 & ~1, y0 & ~1, (x1 + 1) & ~1, (y1 + 1) & ~1)
        colours = Image.new("RGB", self.size)
        colours.paste(letters, mask=letters)
        picture = VideoFrame.from_ndarray(np.asarray(colours.crop(box)), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
        return Overlay(self.left + box[0], self.top + box[1], np.asarray(opacity.crop(box)), picture)


def _is_high(layout: TextLayout) -> bool:
    """Return whether the letters can have marks above and below them."""
    return any(run.font != FONT_PATH for line in layout.lines for run in line)


def _pitch(layout: TextLayout) -> int:
    return round((1.5 if _is_high(layout) else 1.22) * layout.size)


def _place_runs(layout: TextLayout, baseline: int, align: str = "centre") -> Iterator[_PlacedRun]:
    """Yield each run with its place in the safe zone; `baseline` is that of the last line."""
    for number, line in enumerate(layout.lines):
        space = DRAWN_PX - sum(run.width(layout.size) for run in line)
        x = {"left": 0.0, "centre": space / 2, "right": space}[align]
        for run in line:
            yield _PlacedRun(run, x, baseline - (len(layout.lines) - 1 - number) * _pitch(layout), number)
            x += run.width(layout.size)


def _find_words(placed: list[_PlacedRun], size: int, overlay: Overlay, zone: _SafeZone) -> Iterator[WordArea]:
    """Yield the areas of the words: the lines part where the least is drawn, and the words in the middle of a space."""
    rows, columns = overlay.alpha.shape
    ink, scale = overlay.alpha.sum(axis=1), zone.size[0] / DRAWN_PX
    baselines = sorted({each.baseline for each in placed})
    tops = [0]
    for above, below in pairwise(baselines):
        first, last = (round(y * scale) + zone.top - overlay.top for y in (above, below))
        tops.append((first + int(ink[first : max(last, first + 1)].argmin())) // 2 * 2)
    for line, (top, bottom) in enumerate(zip(tops, [*tops[1:], rows], strict=True)):
        runs = [each for each in placed if each.line == line]
        edges = [0]
        for before, after in pairwise(runs):
            middle = (_visible(before, size)[1] + _visible(after, size)[0]) / 2 * scale
            edges.append(max(edges[-1], round((middle + zone.left - overlay.left) / 2) * 2))
        for each, left, right in zip(runs, edges, [*edges[1:], columns], strict=True):
            yield WordArea(each.run.word, slice(top, bottom), slice(left, right))


def _visible(placed: _PlacedRun, size: int) -> tuple[float, float]:
    """Return the left and the right end of the run without the space after it."""
    run, x = placed.run, placed.x
    width, visible = run.width(size), run._replace(text=run.text.rstrip()).width(size)
    return (x + width - visible, x + width) if run.is_rtl else (x, x + visible)
