"""Choice of what a clip shows, from the words of its prompt; the words are in scene_words.toml."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.stage import CLOSE, DETAIL, WIDE
from sandbox.text import STOP_WORDS, read_table

_LISTS = read_table("scene_words")
_BEFORE, _REPEATED, _ENDED, _PORTUGUESE = (
    frozenset(_LISTS["negation"][name].split()) for name in ("before", "repeated_by", "ended_by", "portuguese")
)
#: A negation excludes so many of the words that follow it.
REACH = 3
#: Weather counts more than the place where it is.
WEATHER, OPEN_PLACES = ("rain", "snow"), ("city", "forest", "stars", "clouds")
MAX_SUBJECT_WORDS = 3
#: The names of WIDE, CLOSE and DETAIL.
FRAMINGS = ("wide", "close", "detail")
_ARABIC_PREFIX = re.compile(r"^(?:[وفبك]?ال|لل|[وب](?=\w{3}))")


@dataclass(frozen=True)
class SceneChoice:
    """What a clip shows: the name of a scene, the colour of an object, the subject for a card, and framing.

    The shots of a film have the text `place` in common. A reverse shot shows the place from the other side.
    """

    scene: str
    tint: str
    subject: str
    framing: int
    place: str
    is_reverse: bool = False


def choose_scene(prompt: str) -> SceneChoice:
    """Return what a clip of this prompt shows: the first scene that is named and not excluded, or a card.

    A topic before a colon holds for all shots of a film; where it names several scenes, the shot shows one of them.
    """
    written = re.split(r"\n\s*\n|\b(?:Sound|Style): ", prompt.strip())[0]
    topic, _, shot = written.partition(":")
    named = _find_scenes(topic, "scenes")
    found = [scene for scene in _find_scenes(shot, "scenes") if scene in named or not named]
    scenes = (found if len(set(named)) > 1 else []) + (named or found) or _find_scenes(written, "weak") or ["card"]
    weather = [scene for scene in scenes if scene in WEATHER and scenes[0] in OPEN_PLACES]
    scene = (weather or scenes)[0]
    tint = (_find_scenes(topic, "tints") or _find_scenes(shot, "tints") or [""])[0]
    subject = re.split(r"[.!?\n]", topic)[0].strip()
    direction = prompt.lower().rpartition("style:")[2]
    framing, is_reverse = _find_framing(written.lower(), prompt)
    place = f"{scene}: {(subject if shot else direction).lower().strip()}"
    if scene == "card":  # whose letters the other side would show reversed
        framing, is_reverse = DETAIL if is_reverse else min(framing, CLOSE), False
    return SceneChoice(scene, tint, _write_subject(subject), framing, place, is_reverse)


def _write_subject(topic: str) -> str:
    """Return the words of a topic for a card, or none if it is a sentence or in other letters than the card has."""
    words = [word for word in re.findall(r"[^\W_][\w’'-]*", topic) if word.lower() not in STOP_WORDS]
    is_short = len(words) <= MAX_SUBJECT_WORDS and all(word[0] < "ɐ" for word in words)
    return " ".join(word[0].upper() + word[1:] for word in words) if is_short else ""


def _find_scenes(text: str, kind: str) -> list[str]:
    """Return the names of the lists of this kind that contain the words of a text, in the order of the words."""
    return [name for word in _list_words(text.lower()) for name in _find(word, _LISTS[kind])]


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


def _find_framing(text: str, prompt: str) -> tuple[int, bool]:
    """Return the framing, and whether it is a reverse shot: "a wide frame again"."""
    choice = hashlib.sha256(prompt.encode()).digest()[0]
    frames = re.findall(r"\b(wide|tight) frame( again)?", text)
    if frames:
        kind, again = frames[-1]
        return (WIDE, bool(again)) if kind == "wide" else ((CLOSE, DETAIL)[choice % 2], False)
    named = _find_scenes(text, "framing")
    return FRAMINGS.index(named[0]) if named else choice % 3, False
