"""Reading of a brief: its subject, its kind and language, and what it excludes."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sandbox.text import STOP_WORDS, capitalize, join_words, read_table, shorten

LANGUAGES, IMAGERY = read_table("idea_languages"), read_table("idea_scenery")
CODES = [code for code in LANGUAGES if "captions" in LANGUAGES[code]]
KINDS: dict[str, set[str]] = {kind: set(words.lower().split()) for kind, words in LANGUAGES["kinds"].items()}
NO_TOPIC = "a quiet still life"
WORD = r"[^\W\d_]+(?:[’'][^\W\d_]+)?"
_CLAUSE_END = r"[.!?;:,\n。！？、，：؛،؟]+|\s[–—-]\s"
_PATTERNS: dict[str, str] = LANGUAGES["patterns"]
_STOP = rf"(?!(?:{'|'.join(sorted(STOP_WORDS))})\b)"
_JOIN = rf"\s+(?:{_PATTERNS['join']})\s+"
_NOUNS = rf"(?:(?:{_PATTERNS['determiner']})\s+)*{_STOP}{WORD}(?:(?!{_JOIN})\s+{_STOP}{WORD})?"


@dataclass(frozen=True)
class Brief:
    """What a brief says. `topic` is in its own words; `noun` is the head of an English topic, or empty."""

    topic: str
    noun: str
    #: The things that a brief of emoji lists, or else its topic.
    parts: Sequence[str]
    #: Further clauses: a place, a mood.
    details: Sequence[str]
    #: A key of KINDS, or "mood".
    kind: str
    #: A key of CODES, or "other" for a language that has no captions.
    language: str
    day: str
    excluded: frozenset[str]


def read_brief(text: str, comments: Sequence[str] = ()) -> Brief:
    """Return what a brief says, as later comments change its subject and exclude things."""
    text = re.sub(r"#\w+|https?://\S+", " ", text)
    language, kind = find_language(text), _find_kind(text)
    text, excluded = split_exclusions(text, language)
    parts = [] if re.search(WORD, text) else _name_emoji(text)
    clauses = [join_words(parts)] if parts else re.split(_CLAUSE_END, text)
    subjects = [shorten(strip_request(clause, language), 84) for clause in clauses]
    for comment in comments:
        rest, more = split_exclusions(comment, find_language(comment))
        excluded |= more
        if about := re.search(r"\babout\s+([^.,;!?]+?)(?:\s+instead)?(?=[.,;!?]|$)", rest):
            subjects, parts = [about[1].strip()], []
    subjects, parts = ([left for each in texts if (left := _remove(each, excluded))] for texts in (subjects, parts))
    topic, *details = [each for each in subjects if language == "ja" or content_words(each, language)] or [NO_TOPIC]
    noun = find_noun(topic, kind) if language == "en" and topic != NO_TOPIC else ""
    day = next((word for word in re.findall(WORD, text.lower()) if word in LANGUAGES["en"]["days"].split()), "")
    day = capitalize(day) if day.endswith("day") else day
    return Brief(topic, noun, parts or [topic], details, kind, language, day, frozenset(excluded))


def split_exclusions(text: str, language: str) -> tuple[str, set[str]]:
    """Return the text without its “no water” and “drop the astronaut”, and the stems of all words to leave out."""
    pattern, found = _exclusion(language), set[str]()
    for match in pattern.finditer(text):
        for group in re.split(_JOIN, match[1]):
            words = [word for word in re.findall(WORD, group) if not re.fullmatch(_PATTERNS["determiner"], word)]
            found |= _expand(next((word for word in words if len(_expand(word)) > 1), words[-1])) if words else set()
    return pattern.sub(" ", text), found


@lru_cache
def _exclusion(language: str) -> re.Pattern[str]:
    if language == "ja":
        return re.compile(LANGUAGES["ja"]["without"])
    without, drop = LANGUAGES.get(language, LANGUAGES["en"])["without"], _PATTERNS["drop"]
    first = rf"\b(?:{without})|(?:^|(?<=[.,;:!?]\s)|(?<=\band\s))(?:{drop})|\b(?:{drop})(?=\s+the\b)"
    more = rf"(?:{_JOIN})(?:(?:{without})\s+)?{_NOUNS}"
    return re.compile(rf"(?:\b(?:and|but|und|y|et|e)\s+)?(?:{first})\s*\b({_NOUNS}(?:{more})*)", re.IGNORECASE)


def strip_request(text: str, language: str) -> str:
    """Return the subject of “make a video about …”, for use in a sentence."""
    subject = first = " ".join(text.split()).strip(" -–—…\"“”'")
    for name in LANGUAGES.get(language, {}).get("request", ["request_other"]):
        subject = re.sub(_PATTERNS[name], "", subject, count=1, flags=re.IGNORECASE | re.VERBOSE)
    if subject == first:
        return _uncapitalize(subject) if language == "en" else subject
    if language in ("en", "ja"):
        return subject
    return re.sub(_PATTERNS["article"], "", subject, flags=re.IGNORECASE | re.VERBOSE)


def names_excluded(text: str, excluded: Iterable[str]) -> bool:
    """Return whether a text names something that is excluded."""
    return not {stem(word) for word in re.findall(WORD, text)}.isdisjoint(excluded)


def stem(word: str) -> str:
    """Return a word in lower case without the ending of its plural."""
    return re.sub(r"(?<=x|h)es$|(?<=ss)es$|(?<=[^s])s$", "", word.lower())


def find_language(text: str) -> str:
    """Return the code of the language: by its script, or by the function words that it has most of."""
    if re.search(r"[ぁ-んァ-ヴ]", text):
        return "ja"
    if re.search(r"[\u0600-\u06ff]", text):
        return "other" if re.search("[پچژگکیٹڈ]", text) else "ar"
    words = re.findall(r"[^\W\d_]+", text.lower())
    lists = {code: LANGUAGES[code]["words"] for code in CODES if code not in ("ja", "ar")} | LANGUAGES["foreign"]
    counts = {code: sum(word in known.split() for word in words) for code, known in lists.items()}
    best = max(counts, key=lambda code: (counts[code], code == "en"))
    return best if best in CODES else "other"


def content_words(text: str, language: str) -> list[str]:
    """Return the distinct words that carry the meaning of a text, in lower case and in order."""
    if language == "ja":
        words = re.findall(r"[一-龯々]+(?=[のをにはがでとへもや]|[^ぁ-ん一-龯々]|$)|[ァ-ヴー]{2,}", text)
    else:
        words = re.findall(r"[^\W\d_]{3,}|[A-Z]{2}|[^\W\x00-\u024f]+", text)
    known = LANGUAGES.get(language, {})
    stop = {*known.get("stop", "").split(), *known.get("words", "").split()}.union(*KINDS.values())
    stop |= set() if language == "en" else set(" ".join(LANGUAGES["foreign"].values()).split())
    return list(dict.fromkeys(word for word in map(str.lower, words) if word not in stop))


def _find_kind(text: str) -> str:
    words = re.findall(WORD, text.lower())
    found = (kind for kind, known in KINDS.items() if any(w in words or (w > "\u3000" and w in text) for w in known))
    return next(found, "mood")


def find_noun(topic: str, kind: str) -> str:
    """Return the head of a topic of at most three words: “fox” of “a fox in the snow”; in news that of its object."""
    heads, chunks = [], re.split(rf"\b(?:{_PATTERNS['article_en']})\s+", topic, flags=re.IGNORECASE)
    for chunk in chunks:
        words = re.split(rf"\s+(?!{_STOP})|[^\w\s’'-]", chunk.strip().removeprefix("new "))[0].split()
        # Between two articles the last word is a verb: “the city opens a new line”.
        words = words[:-1] if chunk.split()[-1:] == words[-1:] and chunk is not chunks[-1] and len(words) > 1 else words
        heads += [" ".join(words)] if words and words[0].lower() not in STOP_WORDS else []
    head = (heads or [""])[-1 if kind == "news" else 0]
    return head if all(letter < "\u0250" for letter in head) and len(head.split()) <= 3 else ""


def _remove(text: str, excluded: Iterable[str]) -> str:
    """Return a phrase without the excluded things, and without the prepositions that this leaves at its ends."""
    out = [word for word in re.findall(WORD, text) if stem(word) in excluded]
    for word in out:
        phrase = rf"(?:\b(?:an?|the)\s+(?:{_STOP}{WORD}\s+)?)?\b{re.escape(word)}\b"
        text = re.sub(phrase, " ", text, flags=re.IGNORECASE)
    if not out:
        return text
    ends = "and|with|in|on|of|at|under|by|over|from|to"
    pattern = rf"^\W*(?:(?:{ends})\b\W*)+|(?:\W*\b(?:{ends}|an?|the))+\W*$"
    return re.sub(pattern, "", " ".join(text.split())).strip(" ,")


def _expand(word: str) -> set[str]:
    """Return the stems of a word that is excluded and of all words that would show the same."""
    for entry in IMAGERY["excluded"].values():
        names, related = (set(map(stem, part.split())) for part in entry.split("|"))
        if stem(word) in names:
            return names | related
    return {stem(word)}


def _name_emoji(text: str) -> list[str]:
    symbols = [symbol for symbol in text if unicodedata.category(symbol) == "So"]
    names = (IMAGERY["emoji"].get(each, unicodedata.name(each, "").lower().removesuffix(" face")) for each in symbols)
    return list(dict.fromkeys(filter(None, names)))


def _uncapitalize(text: str) -> str:
    """Lower the first letter unless the text appears to start with a name or with "I"."""
    first, _, remainder = text.partition(" ")
    is_ordinary = first != "I" and (first[1:].islower() or len(first) == 1)
    return text[:1].lower() + text[1:] if is_ordinary and remainder[:1].islower() else text
