"""Choice of what a clip shows, from the words of its prompt; the words are in scene_words.toml."""

import hashlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.painting import CLOSE, DETAIL, WIDE
from sandbox.text import STOP_WORDS

_LISTS = tomllib.loads(Path(__file__).with_name("scene_words.toml").read_text("utf-8"))
_BEFORE, _REPEATED, _ENDED, _PORTUGUESE = (
    frozenset(_LISTS["negation"][name].split()) for name in ("before", "repeated_by", "ended_by", "portuguese")
)
#: A negation excludes so many of the words that follow it.
REACH = 3
#: Weather counts more than the place where it is.
WEATHER, OPEN_PLACES = ("rain", "snow"), ("city", "forest", "stars", "clouds")
MAX_SUBJECT_WORDS = 3
_ARABIC_PREFIX = re.compile(r"^(?:[وفبك]?ال|لل|[وب](?=\w{3}))")


@dataclass(frozen=True)
class SceneChoice:
    """What a clip shows: the name of a scene, the colour of an object, the subject for a card, framing and place."""

    scene: str
    tint: str
    subject: str
    framing: int
    #: What the shots of a film have in common.
    place: str


def choose_scene(prompt: str) -> SceneChoice:
    """Return what a clip of this prompt shows: the first scene that is named and not excluded, or a card."""
    text = re.split(r"\n\s*\n|\b(?:Sound|Style): ", prompt.strip().lower())[0]
    direction = prompt.lower().rpartition("style:")[2]
    found = [scene for word in _list_words(text) for scene in _find(word, _LISTS["scenes"])]
    weak = [scene for word in _list_words(text) for scene in _find(word, _LISTS["weak"])]
    scene = (found or weak or ["card"])[0]
    if scene in OPEN_PLACES:
        scene = next((other for other in found if other in WEATHER), scene)
    tint = next((tint for word in _list_words(text) for tint in _find(word, _LISTS["tints"])), "")
    topic = re.split(r"[:.!?\n]", text)[0]
    words = [word for word in re.findall(r"[^\W_][\w’'-]*", topic) if word not in STOP_WORDS]
    subject = " ".join(words) if len(words) <= MAX_SUBJECT_WORDS and all("a" <= word[0] < "ɐ" for word in words) else ""
    place = topic if ":" in text else direction
    return SceneChoice(scene, tint, subject.title(), _find_framing(text, prompt), f"{scene}: {place.strip()}")


def _find(word: str, lists: dict[str, str]) -> Iterator[str]:
    """Yield the names of the lists that contain the word, or a part of it where words are not separated."""
    for name, text in lists.items():
        for entry in text.split():
            stem = entry.removesuffix("*")
            is_part = not stem[0].isalpha() or stem[0] >= "\u3040"
            if word == stem or (stem != entry and word.startswith(stem)) or (is_part and stem in word):
                yield name
                break


def _list_words(text: str) -> Iterator[str]:
    """Yield the words and emoji of a text in their order, without those that it excludes."""
    tokens = re.findall(r"[^\W\d_]+|[^\w\s'’-]", text.replace("\ufe0f", ""))
    negations = _BEFORE - {"no"} if _PORTUGUESE.intersection(tokens) else _BEFORE
    left = 0
    for token in tokens:
        if token in negations or (token in _REPEATED and left):
            left = REACH
        elif token in _ENDED or not token.isalnum():
            left = 0
        else:
            left -= left > 0
        if token[0] >= "\u3040" and token.isalpha():
            yield from _split_japanese(token)
        elif not left or not token.isalnum():
            yield _ARABIC_PREFIX.sub("", token) if "\u0600" < token[0] < "\u0700" else token


def _split_japanese(token: str) -> Iterator[str]:
    """Yield the known words in a text without spaces in their order, without those that it excludes."""
    lists = [_LISTS["scenes"], _LISTS["weak"], _LISTS["tints"]]
    known = {entry for words in lists for text in words.values() for entry in text.split() if entry[0] >= "\u3040"}
    for match in re.finditer("|".join(sorted(known, key=len, reverse=True)), token):
        if not re.match(_LISTS["negation"]["after"], token[match.end() :]):
            yield match[0]


def _find_framing(text: str, prompt: str) -> int:
    words = set(re.findall(r"[^\W\d_]+", text))
    for framing, name in ((DETAIL, "detail"), (CLOSE, "close"), (WIDE, "wide")):
        if words.intersection(_LISTS["framing"][name].split()):
            return framing
    return hashlib.sha256(prompt.encode()).digest()[0] % 3
