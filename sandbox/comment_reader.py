"""Rules that read comments: the changes which one on a film requests, and which ideas others keep and change."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sandbox.briefs import LANGUAGES, content_words, split_exclusions, stem
from sandbox.text import extract_section, find_numbers, shorten

#: Patterns of what the sentences of a comment are about.
WORDS: dict[str, str] = LANGUAGES["comments"]
QUOTED = r"[“\"'‘]([^”\"’]{1,60}?)[”\"'’](?!\w)"
_RUN = r"#?\d+(?:(?:,? and |, ?| & |-)#?\d+)*\b"
#: “Keep 1 and 3”: the ideas that are to stay.
KEPT = rf"\b(?:keep|leave)\s+(?:only\s+)?(?:the\s+)?((?:(?:idea|clip|shot|scene|number)s?\s+)?{_RUN})"
_CHANGED = rf"\b(?:redo|change|replace|remake|make|try|swap)\s+({_RUN})(?!\s*[a-z-]*(?:second|idea|shot|clip))"
#: A sentence ends at its mark, and before another verb that follows an "and" or a comma.
SENTENCE_END = (
    r"(?<=[.!?;])\s+|\n+|,? and (?=(?:post|publish|upload|use|change|add|make|keep|leave|redo|drop|remove)\b)"
    r"|, (?=(?:keep|leave|redo|drop|remove|no|without)\b)"
)

#: What requests nothing when another sentence follows: “No, keep the clips”.
INTERJECTION = r"(?:no|yes|ok(?:ay)?|well|please|thanks|thank you)\W*"


def read_comment(request: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the requested changes in a comment on a film of as many clips as the request states."""
    comment = extract_section(request, "comment")
    size = re.search(r"\bhas (\d+) clips?\b", request)
    last = int(size[1]) if size else None
    parts = [part.strip() for part in re.split(SENTENCE_END, comment)]
    sentences = [part for part in parts if re.search(r"\w", part) and not re.fullmatch(INTERJECTION, part.lower())]
    return {"changes": [_read_sentence(sentence, last) for sentence in sentences or [comment or "…"]][:20]}


def _read_sentence(sentence: str, last: int | None) -> dict[str, Any]:
    lower, change = sentence.lower(), {"clips": [], "overlay": "", "reason": "", "text": shorten(sentence, 300)}
    clips = _find_clip_numbers(lower, last)
    if re.search(WORDS["overlay"], lower) and clips:
        quoted = re.findall(QUOTED, sentence)
        if not quoted:
            return {**change, "step": "impossible", "reason": "The comment does not quote the new text."}
        return {**change, "step": "overlay", "clips": clips, "overlay": quoted[-1]}
    if re.search(WORDS["keep"], lower) and not re.search(WORDS["redo"], lower):
        return {**change, "step": "keep"}
    if clips:
        return {**change, "step": "clips", "clips": clips}
    if re.search(WORDS["project"], lower):
        return {**change, "step": "impossible", "reason": "The project determines this."}
    return {**change, "step": "caption" if re.search(WORDS["caption"], lower) else "ideas"}


def _find_clip_numbers(comment: str, last: int | None) -> list[int]:
    """Return the numbers of the existing clips that a comment names, ascending."""
    # “Redo 2” names no clip by its noun.
    found = find_numbers(comment, "clips?") | _numbers_in(rf"\b(?:redo|remake) ({_RUN})", comment)
    if last is not None and re.search(r"\blast clip\b", comment):
        found.add(last)
    return sorted(n for n in found if n >= 1 and (last is None or n <= last))


def _numbers_in(pattern: str, text: str) -> set[int]:
    """Return the numbers in the groups that a pattern finds."""
    return {int(n) for run in re.findall(pattern, text) for n in re.findall(r"\d+", run)}


def find_named(comment: str) -> set[int]:
    """Return the numbers of the ideas that a comment wants to change; none if it means all that are not kept."""
    rest = re.sub(KEPT, " ", comment.lower())
    return find_numbers(rest) | _numbers_in(_CHANGED, rest)


def requested_words(comment: str, excluded: Collection[str]) -> list[str]:
    """Return at most five words that a comment asks for."""
    text = re.sub(KEPT, " ", split_exclusions(comment, "en")[0], flags=re.IGNORECASE)
    text = re.sub(r"#\w+|\btoo \w+|\babout\b.*", " ", text)
    return [word for word in content_words(text, "en") if stem(word) not in excluded][:5]


def select_comments(index: int, comments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the comments whose exclusions hold for an idea, and those that change it.

    An idea that is kept changes again when a comment names its number; what later comments exclude holds for it too.
    """
    read, changes, is_kept = list[str](), list[str](), False
    for comment in comments:
        named = find_named(comment)
        if index + 1 in _numbers_in(KEPT, comment.lower()):
            is_kept = True
        elif index + 1 in named or not (named or is_kept):
            is_kept = False
            read.append(comment)
            changes.append(comment)
        elif not named:
            read += [comment] if split_exclusions(comment, "en")[1] else []
    return read, changes
