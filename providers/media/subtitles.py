"""Texts with times: as a subtitle file (`.srt`), and as samples of a text track."""

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

#: The languages that are written in a script of their own, by their ISO 639-2 codes.
LANGUAGES = tomllib.loads(Path(__file__).with_name("languages.toml").read_text(encoding="utf-8"))
_CODES = {script: code for code, language in LANGUAGES.items() for script in language["scripts"]}
#: Letters of Persian, Urdu and Kurdish that Arabic does not have.
_OTHER_ARABIC = set("پچژگکیےڤەۆ")
#: The longest cue of spoken words, two lines on a telephone, and its ends: of a sentence, a phrase or a word.
CUE_COLUMNS = 42
_ENDS = [
    re.compile(ends) for ends in (r"[.!?…؟।][^\w\s]*\s|[。！？][」』”’）]*", r"[,;:،؛–—][^\w\s]*\s|[、，；：]", r"\s")
]


class TimedText(NamedTuple):
    """A text that is seen or heard from `start` to `end`, in seconds of the film."""

    start: float
    end: float
    text: str


class TextTrack(NamedTuple):
    """The text track of a film of this length in seconds; `language` is an ISO 639-2 code, empty if it is unknown."""

    texts: Sequence[TimedText]
    seconds: float
    language: str


def format_srt(texts: Sequence[TimedText]) -> str:
    """Return the content of a subtitle file with these texts in the order of their times, numbered from 1."""
    cues = sorted(text for text in texts if _clean(text.text))
    return "\n".join(
        f"{number}\n{_format_time(cue.start)} --> {_format_time(cue.end)}\n{_clean(cue.text)}\n"
        for number, cue in enumerate(cues, start=1)
    )


def split_samples(track: TextTrack) -> list[TimedText]:
    """Return the samples of the track in order, the first at 0, without the empty ones between texts.

    Texts at the same time share a sample, each in a line of its own.
    """
    cues = sorted((min(cue.start, track.seconds), min(cue.end, track.seconds), _clean(cue.text)) for cue in track.texts)
    edges = sorted({0.0, *(edge for cue in cues for edge in cue[:2])})
    samples = [
        TimedText(start, end, "\n".join(text for first, last, text in cues if first <= start < last))
        for start, end in pairwise(edges)
    ]
    return [sample for sample in samples if sample.text or sample.start == 0]


def split_cues(words: TimedText) -> list[TimedText]:
    """Return spoken words as cues of at most `CUE_COLUMNS`, which share the time of the words by their lengths."""
    parts = _split(_clean(words.text))
    places = [0, *accumulate(map(_columns, parts))]
    times = [words.start + (words.end - words.start) * place / max(places[-1], 1) for place in places]
    return [TimedText(*span, part) for span, part in zip(pairwise(times), parts, strict=True)]


def _split(text: str) -> list[str]:
    """Return the text in parts that fit into a cue, split at the ends nearest to the middle of what is too long."""
    if _columns(text) <= CUE_COLUMNS:
        return [text]
    middle, edge = len(text) // 2, len(text) // 5
    places = ([end.end() for end in ends.finditer(text, edge, len(text) - edge)] for ends in _ENDS)
    place = min(next(filter(None, places), [middle]), key=lambda each: abs(each - middle))
    return _split(text[:place].strip()) + _split(text[place:].strip())


def _columns(text: str) -> int:  # a character of East Asia is two columns wide
    return sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def find_language(text: str) -> str:
    """Return the ISO 639-2 code of the language whose own script a third of the letters have; empty without one."""
    scripts = Counter(unicodedata.name(each, "").partition(" ")[0] for each in text if each.isalpha())
    languages = Counter[str]()
    for script, count in scripts.items():
        languages[_CODES.get(script, "")] += count
    if _OTHER_ARABIC & set(text):
        languages.pop("ara", None)
    if languages["jpn"]:  # Japanese has the characters of Chinese as well
        languages["jpn"] += languages.pop("zho", 0)
    own = max(filter(None, languages), key=lambda language: languages[language], default="")
    return own if 3 * languages[own] >= languages.total() else ""


def _clean(text: str) -> str:
    """Return the text in one line, without what would end a cue."""
    return " ".join(text.replace("-->", "→").split())


def _format_time(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"
