"""The layout of an overlay: its lines, and the font and the direction of each part of them."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, groupby, repeat
from pathlib import Path
from typing import NamedTuple

from uniseg.linebreak import line_break_units

from providers.media import glyphs

#: Pixels of a frame 1080 wide: the smallest text has 40 pixels where a film is 720 wide.
LINE_PX, MIN_FONT_PX, MAX_FONT_PX, MAX_LINES = 656, 60, 76, 5
#: A word of fewer letters appears with the next one, where no spaces are between them.
MIN_WORD_LETTERS = 2
SOFT_HYPHEN = "\u00ad"
#: Format characters that change what is drawn: they allow a line break, join or separate letters, or make emoji.
_USED_FORMATS = f"{SOFT_HYPHEN}\u200b\u200c\u200d\ufe0e\ufe0f"
_KINDS = {"L": "L", "R": "R", "AL": "R", "EN": "1", "AN": "1"}


class TextStyle(NamedTuple):
    """The font sizes of a text in pixels of a frame 1080 wide, and the most lines.

    A text in the fewest lines has one line only in the largest size; otherwise the lines are as large as possible.
    """

    largest: int
    smallest: int
    lines: int
    has_fewest_lines: bool = False

    def sizes(self, lines: int) -> range:
        """Return the font sizes of a text in this number of lines, the largest first."""
        smallest = self.largest if lines == 1 and self.has_fewest_lines else self.smallest
        return range(self.largest, smallest - 1, -1)


CAPTION = TextStyle(MAX_FONT_PX, MIN_FONT_PX, MAX_LINES, has_fewest_lines=True)


class TextRun(NamedTuple):
    """A part of a line in one font and one direction, and the number of its word if the words are apart."""

    text: str
    font: Path
    is_rtl: bool
    word: int = 0

    def width(self, size: int) -> float:
        """Return the width in pixels of the run at this size."""
        font = glyphs.load_font(self.font, size, is_rtl=self.is_rtl)
        return font.getlength(self.text, direction="rtl" if self.is_rtl else None) * size / font.size


class TextLayout(NamedTuple):
    """A text in lines, and its font size in pixels of a frame 1080 wide. The runs of a line are from left to right."""

    size: int
    texts: list[str]
    lines: list[list[TextRun]]
    is_rtl: bool


def require_drawable(text: str) -> str:
    """Return the text of an overlay as it is drawn: composed, and without format characters that have no effect.

    Raises ValueError naming the characters that cannot be drawn, or the longest text that fits.
    """
    composed = unicodedata.normalize("NFC", text)
    composed = "".join(each for each in composed if not glyphs.is_invisible(each) or each in _USED_FORMATS)
    if missing := glyphs.find_missing_glyphs(composed):
        packages = " and ".join(dict.fromkeys([*glyphs.SHAPING_PACKAGES, *map(glyphs.package_for, missing)]))
        cannot = f"the fonts of this machine cannot draw {' '.join(missing[:10])}"
        raise ValueError(f"{cannot}; install {packages}, or use Latin, Greek or Cyrillic letters and no emoji")
    if (longest := len(fit_start(composed))) < len(composed):
        raise ValueError(f"it is too wide for the film; at most its first {longest} characters fit")
    return composed


def break_lines(text: str) -> str:
    """Return the text that is drawn for this one, with a line feed at each line break."""
    layout = fit_lines(fit_start(glyphs.strip_missing_glyphs(text)))
    return "\n".join(layout.texts) if layout else ""


def fit_start(text: str, style: TextStyle = CAPTION) -> str:
    """Return the longest start of the text that fits over a film: mostly the text itself."""
    if fit_lines(text, style):
        return text
    starts = list(accumulate(glyphs.split_clusters(text)))
    return ["", *starts][bisect_left(starts, True, key=lambda start: fit_lines(start, style) is None)]


def fit_lines(text: str, style: TextStyle = CAPTION) -> TextLayout | None:
    """Return the text in the lines of the style that fit, of similar widths; None if none do."""
    text = re.sub(r"[ \t\n\r\f\v]+", " ", text).strip()
    base = (re.findall("[LR]", _kinds(text)) or "L")[0]
    # Lines break where UAX #14 allows it, and inside a word or an address that is wider than a line.
    size = style.smallest
    units = [(u,) if _width(u.rstrip(), size) <= LINE_PX else glyphs.split_clusters(u) for u in line_break_units(text)]
    parts = [(part, _width(part, size), _width(part.rstrip(), size)) for unit in units for part in unit]
    counts = range(1, style.lines + 1) if parts and len(_fill(parts, LINE_PX)) <= style.lines else ()
    layouts = filter(None, (_lay_out(parts, count, base, style) for count in counts))
    if style.has_fewest_lines:
        return next(layouts, None)
    return max(layouts, key=lambda layout: layout.size, default=None)


def _lay_out(parts: Sequence[tuple[str, float, float]], count: int, base: str, style: TextStyle) -> TextLayout | None:
    """Return these parts in at most this number of lines, if they fit."""
    limit = bisect_left(range(style.lines * LINE_PX), True, key=lambda limit: len(_fill(parts, limit)) <= count)
    *first, last = (line.strip() for line in _fill(parts, limit))
    # A soft hyphen is seen only where a line breaks.
    texts = [re.sub(f"{SOFT_HYPHEN}$", "-", line) for line in first] + [last]
    texts = [line.replace(SOFT_HYPHEN, "") for line in texts]
    lines = [_split_runs(line, base) for line in texts]
    for size in style.sizes(count):
        if all(sum(run.width(size) for run in line) <= LINE_PX for line in lines):
            return TextLayout(size, texts, lines, base == "R")
    return None


def split_words(layout: TextLayout) -> TextLayout:
    """Return the layout with runs of one word each, numbered from 0 in the order in which they are read.

    A word is what a line may break after. Where that is each letter, several letters are a word.
    """
    lines, word = list[list[TextRun]](), 0
    for text in layout.texts:
        words, letters = list[int](), 0
        for unit in line_break_units(text):
            clusters = glyphs.split_clusters(unit)
            words += [word] * len(clusters)
            letters += len(clusters)
            if unit != unit.rstrip() or letters >= MIN_WORD_LETTERS:
                word, letters = word + 1, 0
        word += letters > 0
        lines.append(_split_runs(text, "R" if layout.is_rtl else "L", words))
    return layout._replace(lines=lines)


def _width(part: str, size: int) -> float:
    return sum(run.width(size) for run in _split_runs(part.replace(SOFT_HYPHEN, ""), "L"))


def _fill(parts: Sequence[tuple[str, float, float]], limit: float) -> list[str]:
    """Return lines of as many parts (with their widths, also without a last space) as fit into `limit` pixels."""
    lines, used = [""], 0.0
    for part, width, visible_width in parts:
        if lines[-1] and used + visible_width > limit:
            lines.append("")
            used = 0.0
        lines[-1] += part
        used += width
    return lines


def _split_runs(line: str, base: str, words: Sequence[int] | None = None) -> list[TextRun]:
    """Return the runs of the line from left to right; `base` is the direction of the text (a short form of UAX #9).

    With `words`, the number of the word of each cluster, a run ends with its word.
    """
    clusters = glyphs.split_clusters(line)
    # Digits belong to the word before them, and what is between two words of one direction belongs to them.
    kinds = re.sub("[LR][^LR]*", lambda found: found[0].replace("1", found[0][0]), base + _kinds(line))
    between = "([LR])( +)(?=([LR]?))"
    kinds = re.sub(between, lambda m: m[1] + (m[1] if m[1] == (m[3] or base) else base) * len(m[2]), kinds)
    runs, fonts = [], map(glyphs.find_font, clusters)
    letters = zip(fonts, kinds[1:], words or repeat(0), clusters, strict=False)
    for (font, kind, word), group in groupby(letters, lambda each: each[:3]):
        text = "".join(cluster for *_, cluster in group)
        if font == glyphs.FONT_PATH:  # the basic layout engine draws a box for what is invisible
            text = "".join(character for character in text if not glyphs.is_invisible(character))
        runs.append(TextRun(text, font or glyphs.FONT_PATH, kind == "R", word))
    groups = [list(group)[:: -1 if is_rtl else 1] for is_rtl, group in groupby(runs, lambda run: run.is_rtl)]
    return [run for group in groups[:: -1 if base == "R" else 1] for run in group]


def _kinds(text: str) -> str:
    """Return for each cluster L or R for a letter that is read to the right or left, 1 for a digit, else a space."""
    return "".join(_KINDS.get(unicodedata.bidirectional(each[0]), " ") for each in glyphs.split_clusters(text))
