"""Text helpers of the language rules: prompt sections, keywords, summaries and shortening."""

import re
import textwrap

#: Words in a brief that inject faults into the video job; they are copied into the first scene.
FAULT_WORDS = ("#moderation_blocked", "#fail", "#slow", "#truncated", "#html", "#silent")

_STOP_WORD_LIST = """
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
STOP_WORDS = frozenset(_STOP_WORD_LIST.split())
_VIDEO_REQUEST = r"""^(?:(?:please|can|could|would|will|you|i|we|want|need|like|d|to|let|s|make|create|generate|produce
    |start|film|shoot|show|give|me|us|a|an|the|some|new|short|calm|calming|vertical|nice|relaxing|quick|run|one|two
    |three|\d+|second|seconds)[\s'’-]+)*?(?:video|short|clip|film|reel|movie|run)s?\s+
    (?:about|of|on|showing|where|with|in\ which|for)\s+"""
_CREATE_REQUEST = r"^(?:please\s+)?(?:make|create|generate|produce|film|shoot|show|give)\s+(?:me\s+|us\s+)?"
_NEGATIONS = ("no", "not", "less", "without", "fewer")


def extract_section(text: str, tag: str) -> str:
    """Return the text between <tag> and </tag> at its last occurrence, or an empty string."""
    found = re.findall(rf"<{tag}>\s*(.*?)\s*</{tag}>", text, re.DOTALL)
    return str(found[-1]) if found else ""


def extract_keywords(text: str) -> list[str]:
    """Return the distinct words that are not stop words, in lower case and in order."""
    text = re.sub(r"#\w+|https?://\S+", " ", text.lower())
    words = [word for word in re.findall(r"[^\W\d_]{3,}", text) if word not in STOP_WORDS]
    return list(dict.fromkeys(words))


def extract_requests(comment: str) -> list[str]:
    """Return at most five keywords of a comment, each with the "no" or "less" that precedes it."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"#\w+", " ", comment.lower()))
    requests: list[str] = []
    negation = ""
    for word in words:
        if word in _NEGATIONS:
            negation = "no" if word in ("not", "without") else word
        elif len(word) >= 3 and word not in STOP_WORDS:
            requests.append(f"{negation} {word}".strip())
            negation = ""
    return list(dict.fromkeys(requests))[:5]


def summarize_brief(brief: str) -> str:
    """Return the topic of a brief as a phrase for use in a sentence: "rain on a quiet city at night"."""
    text = re.sub(r"#\w+|https?://\S+", " ", brief)
    first = next((part for part in re.split(r"[.!?;:\n]", text) if part.strip()), "something quiet")
    first = " ".join(first.split())
    topic = re.sub(_VIDEO_REQUEST, "", first, count=1, flags=re.IGNORECASE | re.VERBOSE)
    topic = re.sub(_CREATE_REQUEST, "", topic, count=1, flags=re.IGNORECASE).strip(" ,-–—")
    return shorten(_uncapitalize(topic or first), 84)


def shorten(text: str, length: int) -> str:
    """Return the text on one line, cut between words if it is longer than `length` characters."""
    return textwrap.shorten(" ".join(text.split()), length, placeholder="…")


def capitalize(text: str) -> str:
    """Return the text with an upper-case first letter; the other letters are unchanged."""
    return text[:1].upper() + text[1:]


def join_words(words: list[str]) -> str:
    """Return the words as an enumeration: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _uncapitalize(text: str) -> str:
    """Lower the first letter unless the text appears to start with a name or with "I"."""
    first, _, remainder = text.partition(" ")
    is_ordinary = first[1:].islower() or len(first) == 1
    if is_ordinary and remainder[:1].islower() and first != "I":
        return text[:1].lower() + text[1:]
    return text
