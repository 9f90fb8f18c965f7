"""Words: finding what a text is about, and putting pieces of it into sentences."""

import re
import textwrap

#: Words in a brief that make trouble further on; they are carried into the first scene.
CONTROL = ("#moderation_blocked", "#fail", "#slow", "#truncated", "#html", "#silent")

_STOPS = """
    a about above after again all also always am an and any are as at away be because been before being below
    between both but by can clip clips come could create did do does doing down each every few film films for from
    further generate get give had has have having he her here hers him his how i if in into is it its itself just
    let like long lot made make makes making many may me mine more most much must my need never new nice no nor not
    now of off on once one only or other our out over own part place please produce reel same scene scenes second
    seconds see seem seems she short shorts should show shows since so some something such than that the their them
    then there these they thing things this those through to too two three under until up upon us use very video
    videos vertical want wants was way we well were what when where which while who whole whom why will with within
    without would you your idea ideas better rather instead really bit feel feels look looks put add keep change
    replace try number first last next
"""
STOP_WORDS = frozenset(_STOPS.split())
_REQUEST = r"""^(?:(?:please|can|could|would|will|you|i|we|want|need|like|d|to|let|s|make|create|generate|produce
    |start|film|shoot|show|give|me|us|a|an|the|some|new|short|calm|calming|vertical|nice|relaxing|quick|run|one|two
    |three|\d+|second|seconds)[\s'’-]+)*?(?:video|short|clip|film|reel|movie|run)s?\s+
    (?:about|of|on|showing|where|with|in\ which|for)\s+"""
_ASKING = r"^(?:please\s+)?(?:make|create|generate|produce|film|shoot|show|give)\s+(?:me\s+|us\s+)?"
_NEGATIONS = ("no", "not", "less", "without", "fewer")


def section(text: str, tag: str) -> str:
    """What stands between <tag> and </tag>, the last time it does; empty if it does not."""
    found = re.findall(rf"<{tag}>\s*(.*?)\s*</{tag}>", text, re.DOTALL)
    return str(found[-1]) if found else ""


def significant(text: str) -> list[str]:
    """The words that carry the meaning, lower-case, each once, in their order."""
    text = re.sub(r"#\w+|https?://\S+", " ", text.lower())
    words = [word for word in re.findall(r"[^\W\d_]{3,}", text) if word not in STOP_WORDS]
    return list(dict.fromkeys(words))


def wishes(comment: str) -> list[str]:
    """What a comment asks for: its significant words, with "no" and "less" kept before theirs."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"#\w+", " ", comment.lower()))
    meant: list[str] = []
    negation = ""
    for word in words:
        if word in _NEGATIONS:
            negation = "no" if word in ("not", "without") else word
        elif len(word) >= 3 and word not in STOP_WORDS:
            meant.append(f"{negation} {word}".strip())
            negation = ""
    return list(dict.fromkeys(meant))[:5]


def phrase(brief: str) -> str:
    """What a brief is about, as a phrase that fits into a sentence: "rain on a quiet city at night"."""
    text = re.sub(r"#\w+|https?://\S+", " ", brief)
    first = next((part for part in re.split(r"[.!?;:\n]", text) if part.strip()), "something quiet")
    first = " ".join(first.split())
    shorter = re.sub(_REQUEST, "", first, count=1, flags=re.IGNORECASE | re.VERBOSE)
    shorter = re.sub(_ASKING, "", shorter, count=1, flags=re.IGNORECASE).strip(" ,-–—")
    return shortened(_uncapitalised(shorter or first), 84)


def shortened(text: str, length: int) -> str:
    """The text in one line, cut between words if it is too long."""
    return textwrap.shorten(" ".join(text.split()), length, placeholder="…")


def capitalised(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def listed(words: list[str]) -> str:
    """Words as they are listed in a sentence: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _uncapitalised(text: str) -> str:
    """A capital that only began the sentence is lowered; a name in the middle of one could not be told."""
    first, _, rest = text.partition(" ")
    ordinary = first[1:].islower() or len(first) == 1
    if ordinary and rest[:1].islower() and first != "I":
        return text[:1].lower() + text[1:]
    return text
