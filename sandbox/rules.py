"""Rules: what the rule-based language model answers where an answer of a known form is asked for."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.ideas import ideas
from sandbox.moderation import WORDS
from sandbox.schemas import filled
from sandbox.words import CONTROL, capitalised, phrase, section, shortened, significant

Schema = Mapping[str, Any]

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6}
CAPTION_WORDS = r"\b(captions?|hashtags?|tags?|titles?)\b"
RENDER_WORDS = r"\b(overlays?|transitions?|render|rendered|louder|quieter|volume|music|crossfades?|fonts?|cut|cuts)\b"
CAPTION_LENGTH = 150


def answer(name: str, schema: Schema, request: str) -> dict[str, Any]:
    """The answer of that name to a request; a form nobody told us of is filled in validly."""
    rule = RULES.get(name)
    made = rule(request, schema) if rule is not None else filled(schema)
    if not isinstance(made, dict):
        made = {"value": made}
    return made


def _screening(request: str, schema: Schema) -> dict[str, Any]:
    brief = section(request, "brief")
    if "#unfit" in brief:
        return {"fits": False, "reason": "The brief says of itself that it does not fit."}
    if _is_nonsense(brief):
        return {"fits": False, "reason": "The brief names nothing that could be shown; say what is to be seen."}
    return {"fits": True, "reason": f"It can be shown: {phrase(brief)}."}


def _is_nonsense(brief: str) -> bool:
    words = re.findall(r"[^\W\d_]+", re.sub(r"#\w+", " ", brief.lower()))
    # Only Latin letters can be told from noise by their vowels; other scripts are taken at their word.
    return not any(not word.isascii() or (len(word) > 1 and _is_sayable(word)) for word in words)


def _is_sayable(word: str) -> bool:
    vowels = sum(letter in "aeiouy" for letter in word)
    return vowels / len(word) >= 0.2 and not re.search(r"[bcdfghjklmnpqrstvwxz]{5}|asdf|qwer|(.)\1\1", word)


def _ideas(request: str, schema: Schema) -> dict[str, Any]:
    return ideas(request, schema)


def _route(request: str, schema: Schema) -> dict[str, Any]:
    comment = section(request, "comment")
    asked, clips = comment.lower(), _clips(comment.lower(), request)
    if clips:
        step, what = "clips", f"Make clip{'s' if len(clips) > 1 else ''} {', '.join(map(str, clips))} again"
    elif re.search(CAPTION_WORDS, asked):
        step, what = "caption", "Write the caption again"
    elif re.search(RENDER_WORDS, asked):
        step, what = "render", "Put the film together again"
    else:
        step, what = "ideas", "Find other ideas"
    return {"step": step, "clips": clips, "instruction": f"{what}: {shortened(comment, 200)}"}


def _clips(comment: str, request: str) -> list[int]:
    """The numbers of the clips a comment names, as far as the film has them."""
    word = "|".join(NUMBERS)
    found = set()
    for run in re.findall(rf"\bclips?(?: number| no\.?|s)? ?((?:(?:#?\d+|{word})(?:,? and |, ?| & |-)?)+)", comment):
        found |= {int(n) if n.isdigit() else NUMBERS[n] for n in re.findall(rf"\d+|\b(?:{word})\b", run)}
    found |= {n for ordinal, n in ORDINALS.items() if re.search(rf"\b{ordinal} clip\b", comment)}
    size = re.search(r"\bhas (\d+) clips?\b", request)
    last = int(size[1]) if size else None
    if last is not None and re.search(r"\blast clip\b", comment):
        found.add(last)
    return sorted(n for n in found if n >= 1 and (last is None or n <= last))


def _caption(request: str, schema: Schema) -> dict[str, Any]:
    brief, comment = section(request, "brief"), section(request, "comment")
    about = capitalised(phrase(brief or section(request, "ideas")))
    wordings = (
        f"{about}. Made with AI.",
        f"A quiet moment made with AI: {about}.",
        f"{about}, imagined with AI. Sound on.",
        f"Watch to the end: {about}. Made with AI.",
    )
    quoted = re.search(r"[“\"]([^”\"]{3,120})[”\"]", comment)
    previous = re.findall(r"The last one was “(.*?)”", request, re.DOTALL)
    fresh = [wording for wording in wordings if shortened(wording, CAPTION_LENGTH) not in previous]
    text = quoted[1] if quoted else fresh[sum(map(ord, comment)) % len(fresh)]
    wished = re.findall(r"#\w+", comment.lower())
    words = [f"#{word}" for word in significant(brief) if word.isalpha() and len(word) <= 20]
    tags = list(dict.fromkeys([*wished, *words[:4]]))
    tags = [tag for tag in tags if tag != "#ai" and tag not in CONTROL][:5]
    tags += ["#shorts", "#imagined"][: max(0, 2 - len(tags))]
    return {"caption": shortened(text, CAPTION_LENGTH), "hashtags": [*tags, "#ai"]}


def _shot(request: str, schema: Schema) -> dict[str, Any]:
    prompt = section(request, "prompt") or request
    for words in CONTROL:
        prompt = prompt.replace(words, "")
    for pattern in WORDS:
        prompt = re.sub(pattern, "calm", prompt, flags=re.IGNORECASE)
    lines = [re.sub(r" +([,.;:])", r"\1", " ".join(line.split())) for line in prompt.splitlines()]
    cleaned = "\n".join(lines).strip()
    return {"prompt": f"A calm, friendly picture. {cleaned}"}


RULES: dict[str, Callable[[str, Schema], dict[str, Any]]] = {
    "Screening": _screening,
    "Ideas": _ideas,
    "Route": _route,
    "Caption": _caption,
    "Shot": _shot,
}
