"""Rule-based answers to structured output requests, selected by the name of the schema."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sandbox.briefs import LANGUAGES, content_words, find_noun, read_brief
from sandbox.comment_reader import read_comment
from sandbox.idea_generator import generate_ideas
from sandbox.moderation_api import FLAGGED_PATTERNS, find_categories
from sandbox.schema_values import fill_schema
from sandbox.text import FAULT_WORDS, capitalize, extract_section, shorten

Schema = Mapping[str, Any]

MAX_CAPTION_LENGTH = 150


def answer_schema(name: str, schema: Schema, request: str) -> dict[str, Any]:
    """Return the answer to a request for the named schema; a schema without a rule gets a minimal valid value."""
    answer = RULES[name](request, schema) if name in RULES else fill_schema(schema)
    return answer if isinstance(answer, dict) else {"value": answer}


def _screen_brief(request: str, schema: Schema) -> dict[str, Any]:
    brief = extract_section(request, "brief")
    if "#unfit" in brief:
        return {"fits": False, "reason": "The brief is marked as unfit (#unfit)."}
    if _is_nonsense(brief):
        return {"fits": False, "reason": "The brief names nothing that can be shown. Describe a visible scene."}
    return {"fits": True, "reason": f"It can be shown: {read_brief(brief).topic}."}


def _is_nonsense(brief: str) -> bool:
    words = re.findall(r"[^\W\d_]+", re.sub(r"#\w+", " ", brief.lower()))
    if not words and any(unicodedata.category(symbol) == "So" for symbol in brief):  # emoji
        return False
    # The vowel check only applies to Latin letters; words in other scripts are accepted.
    return not any(not word.isascii() or (len(word) > 1 and _is_pronounceable(word)) for word in words)


def _is_pronounceable(word: str) -> bool:
    vowels = sum(letter in "aeiouy" for letter in word)
    return vowels / len(word) >= 0.2 and not re.search(r"[bcdfghjklmnpqrstvwxz]{5}|asdf|qwer|(.)\1\1", word)


def _write_caption(request: str, schema: Schema) -> dict[str, Any]:
    brief, comment = read_brief(extract_section(request, "brief")), extract_section(request, "comment")
    # The title of the ideas follows the comments on them; a note on its revision is in parentheses.
    title = re.sub(r" \([^()]*\)$", "", extract_section(request, "ideas").partition("\n")[0])
    topic = brief.topic if not title or title.endswith("…") else title
    caption = shorten(_choose_caption(capitalize(topic), brief.language, comment, request), MAX_CAPTION_LENGTH)
    noun = find_noun(topic, brief.kind).lower() if brief.language == "en" else ""
    words = [noun, *content_words(" ".join([topic, *brief.details]), brief.language)]
    return {"caption": caption, "hashtags": _choose_hashtags(words, comment)}


def _choose_caption(topic: str, language: str, comment: str, request: str) -> str:
    """Return the text a comment quotes, or else a caption that differs from the previous one."""
    if quoted := re.search(r"[“\"]([^”\"]{3,120})[”\"]", comment):
        return quoted[1]
    candidates: list[str] = [text.format(topic=topic) for text in LANGUAGES.get(language, LANGUAGES["en"])["posts"]]
    previous = re.findall(r"The last one was “(.*?)”", request, re.DOTALL)
    unused = [text for text in candidates if shorten(text, MAX_CAPTION_LENGTH) not in previous]
    return unused[sum(map(ord, comment)) % len(unused)]


def _choose_hashtags(words: Sequence[str], comment: str) -> Sequence[str]:
    """Return the hashtags that a comment requests, and those of the first words; two words are one hashtag."""
    requested = re.findall(r"#\w+", comment.lower())
    found, used = list[str](), set[str]()
    for phrase in words:
        tag = re.sub(r"[\W_]", "", phrase)
        if tag and len(tag) <= 20 and phrase not in used:
            used |= {phrase, *phrase.split()}
            found.append(f"#{tag}")
    unique = dict.fromkeys([*requested, *found[:4]])
    tags = [tag for tag in unique if tag != "#ai" and tag not in FAULT_WORDS][:5]
    tags += ["#shorts", "#imagined"][: max(0, 2 - len(tags))]
    return [*tags, "#ai"]


def _rewrite_prompt(request: str, schema: Schema) -> dict[str, Any]:
    prompt = extract_section(request, "prompt") or request
    for word in FAULT_WORDS:
        prompt = prompt.replace(word, "")
    for pattern in FLAGGED_PATTERNS:
        prompt = re.sub(pattern, "calm", prompt, flags=re.IGNORECASE)
    lines = [re.sub(r" +([,.;:])", r"\1", " ".join(line.split())) for line in prompt.splitlines()]
    return {"prompt": "A calm, friendly picture. " + "\n".join(lines).strip()}


def _moderate(request: str, schema: Schema) -> dict[str, Any]:
    found = find_categories(" ".join(re.findall(r"<text>(.*?)</text>", request, re.DOTALL)))
    return {"flagged": bool(found), "categories": sorted({name.partition("/")[0] for name in found})}


def _distil_rules(request: str, schema: Schema) -> dict[str, Any]:
    kept, notes = (extract_section(request, tag).split("\n") for tag in ("rules", "notes"))
    found = [shorten(note.partition(": ")[2].strip(" .!"), 80) for note in reversed(notes) if note[:7] != "edited "]
    return {"rules": [*dict.fromkeys(filter(None, [*kept, *found]))][:8]}


RULES: dict[str, Callable[[str, Schema], dict[str, Any]]] = {
    "Screening": _screen_brief,
    "Ideas": generate_ideas,
    "RequestedChanges": read_comment,
    "Caption": _write_caption,
    "Shot": _rewrite_prompt,
    "Rules": _distil_rules,
    "ModerationAnswer": _moderate,
}
