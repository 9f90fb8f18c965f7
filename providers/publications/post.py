"""The post of a film, labelled as made by AI, with texts that every platform takes."""

import re
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from operator import not_
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from prompts.platforms import PLATFORMS, Platform
from providers.base import Json, short_name

_NAMESPACE = uuid.UUID("5f0c1f0e-6f4e-5a53-9d0a-3f1f3f0b6a11")
MAX_HASHTAG_CHARACTERS = 100
#: The label among the hashtags is the last one that a limit removes.
AI_HASHTAG = "#ai"
NO_LABEL = "no label: this platform takes none"

#: Persian and the scripts of India write words with these joiners.
_JOINERS = "\u200c\u200d"
_SUBSTITUTES = {"<": "‹", ">": "›"}
_UNKNOWN = Platform(text=10**9)


class Post(BaseModel, frozen=True):
    """The publication in an order's request.

    `digest` is the sha256 of the film, `subtitles` that of its subtitles if it has any. Hashtags can start with `#` or
    not. `destinations` are the page, board or subreddit of the platforms that need one.
    """

    title: Annotated[str, BeforeValidator(lambda title: title or "")] = ""
    caption: str
    hashtags: Annotated[tuple[str, ...], BeforeValidator(lambda hashtags: hashtags or ())] = ()
    platforms: tuple[str, ...]
    destinations: dict[str, str] = Field({}, exclude_if=not_)
    digest: str
    subtitles: str = Field("", exclude_if=not_)

    @property
    def text(self) -> str:
        """Return caption and hashtags as published with the film."""
        return post_text(self.caption, self.hashtags)


def id_of(request: Json, key: str) -> str:
    """Return the id of an order, known before it is placed: its `request_id`, or one derived from its key."""
    return str(request.get("request_id") or uuid.uuid5(_NAMESPACE, key).hex)


@dataclass(frozen=True)
class FittedPost:
    """Caption and hashtags that every platform takes. `notices` are sentences about what had to change."""

    caption: str
    hashtags: list[str]
    notices: list[str]


def ai_labels(publisher: str, platforms: Sequence[str]) -> dict[str, str]:
    """Return, by platform, the flag with which the publisher labels a film as generated, or a note that it has none."""
    if short_name(publisher) == "folder":
        return dict.fromkeys(platforms, "ai_generated in post.json")
    return {name: PLATFORMS.get(name, _UNKNOWN).ai_flag or NO_LABEL for name in platforms}


def normalize_hashtags(value: object) -> object:
    """Return hashtags, given as a list or as one text, as a list without repetition: `#` and one word each.

    A word consists of letters of any script with their marks and joiners, digits and underscores; anything else is
    removed from it. A value that is neither a list of texts nor a text is returned as it is.
    """
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return value
    unique: dict[str, str] = {}
    for word in (_hashtag_word(word) for part in parts for word in re.split(r"[\s,;#＃]+", part)):
        unique.setdefault(word.casefold(), word)
    return [f"#{word}" for word in unique.values() if word]


def _hashtag_word(word: str) -> str:
    composed = unicodedata.normalize("NFC", word)
    kept = "".join(letter for letter in composed if _is_word_character(letter))[:MAX_HASHTAG_CHARACTERS]
    # Marks and joiners without a letter before them are left over from an emoji.
    while kept and (kept[0] in _JOINERS or unicodedata.category(kept[0])[0] == "M"):
        kept = kept[1:]
    return kept.rstrip(_JOINERS)


def _is_word_character(character: str) -> bool:
    return character == "_" or character in _JOINERS or unicodedata.category(character)[0] in "LMN"


def post_text(caption: str, hashtags: Sequence[str]) -> str:
    """Return caption and hashtags as they are posted."""
    tags = " ".join(f"#{tag.lstrip('#')}" for tag in hashtags)
    return "\n\n".join(part for part in (caption, tags) if part)


def fit_title(title: str, platform: str) -> str:
    """Return the title as the platform takes it; empty for a platform without titles."""
    limits = PLATFORMS.get(platform, _UNKNOWN)
    return _replace_refused(title, limits)[: limits.title].strip() if limits.title else ""


def caption_problem(caption: str, platforms: Sequence[str]) -> str | None:
    """Return why one of the platforms does not take the caption, or None."""
    for name in platforms:
        limits = PLATFORMS.get(name, _UNKNOWN)
        if found := [character for character in limits.refused if character in caption]:
            return f"{name} does not take the character {found[0]} in a caption"
        if (length := limits.measure(caption)) > limits.text:
            return f"{name} takes at most {limits.text:,} characters, and this has {length:,}"
    return None


def fit_post(title: str, caption: str, hashtags: Sequence[str], platforms: Sequence[str]) -> FittedPost:
    """Return caption and hashtags within the limits of all these platforms, and what had to change."""
    tags, notices = list(hashtags), list[str]()
    for name in platforms:
        if (fitted_title := fit_title(title, name)) not in ("", title):
            notices.append(f"{name} does not take the title as it is: it is posted there as “{fitted_title}”.")
        limits = PLATFORMS.get(name, _UNKNOWN)
        cleaned = _replace_refused(caption, limits)
        if cleaned != caption:
            notices.append(f"{name} does not take {' '.join(limits.refused)} in a caption: they were replaced.")
        caption = _shorten(cleaned, limits)
        if caption != cleaned:
            notices.append(f"{name} takes at most {limits.text:,} characters: the caption was shortened.")
        if removed := _remove_hashtags(tags, caption, limits):
            notices.append(f"{name} does not take all hashtags: {' '.join(removed)} left out.")
    return FittedPost(caption, tags, notices)


def _replace_refused(text: str, limits: Platform) -> str:
    for character in limits.refused:
        text = text.replace(character, _SUBSTITUTES[character])
    return text


def _shorten(text: str, limits: Platform) -> str:
    """Return the text, ended after a word with an ellipsis if it is too long."""
    if limits.measure(text) <= limits.text:
        return text
    end = len(text)
    while limits.measure(f"{text[:end]}…") > limits.text:
        end -= 1
    return f"{(text[:end].rpartition(' ')[0] or text[:end]).rstrip()}…"


def _remove_hashtags(tags: list[str], caption: str, limits: Platform) -> list[str]:
    """Remove the last hashtags, in place, until the platform takes the post, and return them in their order."""
    removed: list[str] = []
    while tags and (
        len(tags) > (len(tags) if limits.hashtags is None else limits.hashtags)
        or limits.measure(post_text(caption, tags)) > limits.text
    ):
        last = next((tag for tag in reversed(tags) if tag.casefold() != AI_HASHTAG), tags[-1])
        tags.remove(last)
        removed.insert(0, last)
    return removed
