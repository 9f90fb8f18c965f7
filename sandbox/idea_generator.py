"""Rule-based ideas for a brief: shots of its own subject that change in the direction of the review comments."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sandbox.briefs import IMAGERY, LANGUAGES, Brief, find_noun, names_excluded, read_brief, stem
from sandbox.comment_reader import find_named, requested_words, select_comments
from sandbox.text import FAULT_WORDS, capitalize, extract_section, read_table, shorten

Scenery = Mapping[str, Any]

MAX_LENGTHS = {"title": 60, "scene": 600, "sound": 200, "overlay": 60}
MAX_CAPTION_LENGTH = 32
SCENERY_BY_NAME: dict[str, Scenery] = {scenery["name"]: scenery for scenery in IMAGERY["scenery"]}
OBJECT = SCENERY_BY_NAME["object"]
_OBJECTS = read_table("idea_objects")
MATERIALS: list[dict[str, str]] = _OBJECTS["materials"]
SHOTS = ("arrive", "close", "leave")


def generate_ideas(request: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ideas for the brief, subjects and comments of a request; equal requests give equal ideas.

    Captions are in the language of the brief, or in English after a refusal of letters that no font draws.
    """
    text, subjects = extract_section(request, "brief"), extract_section(request, "subjects").split("\n")
    subjects = [subject.strip("- ") for subject in subjects if subject.strip("- ")]
    count = _count_ideas(request, schema, subjects)
    comments, rules = _extract_comments(request), extract_section(request, "rules").split("\n")
    # What follows the last section is no material: the refusal of an earlier answer.
    has_font = "cannot draw" not in request.rpartition("</")[2]
    generator = _IdeaGenerator(text, extract_section(request, "overlay_form"), subjects, count, has_font=has_font)
    ideas = [generator.build_idea(index, comments, rules) for index in range(count)]
    if "narration" in json.dumps(schema):
        ideas = [{**idea, "narration": f"{idea['title']}. Stay a moment."} for idea in ideas]
    if fault_words := [word for word in FAULT_WORDS if word in text]:
        ideas[0]["scene"] += " " + " ".join(fault_words)
    brief = read_brief(text, [comment for comment in comments if not find_named(comment)])
    if not has_font:
        note = f" (English captions: no font draws {LANGUAGES.get(brief.language, {}).get('name', 'it')})"
        ideas[0]["title"] = shorten(ideas[0]["title"], MAX_LENGTHS["title"] - len(note)) + note
    return {"title": shorten(capitalize(brief.topic), 78), "ideas": ideas}


class _IdeaGenerator:
    """Builds the ideas of one brief, seeded with the brief. What a rule excludes is in none of them."""

    def __init__(self, brief: str, overlay_form: str, subjects: Sequence[str], count: int, *, has_font: bool) -> None:
        self.text, self.overlay_form, self.subjects, self.count = brief, overlay_form, subjects, count
        self.has_font = has_font
        self.start = random.Random(brief).randrange(56)  # noqa: S311 - not a secret

    def build_idea(self, index: int, comments: Sequence[str], rules: Sequence[str]) -> dict[str, str]:
        read, changes = select_comments(index, comments)
        brief = read_brief(self.text, [*rules, *read])
        words = [word for comment in changes for word in requested_words(comment, brief.excluded)]
        requested = list(dict.fromkeys(words))[-5:]
        # A list of things has a shot of each.
        subjects = [brief.topic, *brief.details]
        if len(brief.parts) > 1:
            subjects = [brief.parts[index % len(brief.parts)]]
            brief = replace(brief, noun=find_noun(subjects[0], "mood"))
        sceneries = _find_scenery([*reversed(requested), *subjects], brief)
        scenery = sceneries[-1] if 0 < index < self.count - 1 else sceneries[0]
        if requested and scenery != sceneries[0]:
            brief = replace(brief, noun="")
        if index < len(self.subjects):
            idea = self._build_object_idea(brief, index, len(changes))
        else:
            idea = self._build_scene_idea(brief, scenery, index, len(changes))
        self._finish_scene(idea, brief, sceneries[0], index, self._find_step(index, len(changes)) // 2)
        if requested:
            idea["scene"] += f" The emphasis: {', '.join(requested)}."
        return {name: shorten(text, MAX_LENGTHS[name]) for name, text in idea.items()}

    def _find_step(self, index: int, revision: int) -> int:
        """Return the position in lists of texts: a revision never repeats another idea of the film."""
        return self.start + (index - 1 + revision * (self.count - 2) if self._find_shot(index) == 1 else revision)

    def _find_shot(self, index: int) -> int:
        return 0 if index == 0 else 2 if index == self.count - 1 else 1

    def _build_scene_idea(self, brief: Brief, scenery: Scenery, index: int, revision: int) -> dict[str, str]:
        step, shot = self._find_step(index, revision), self._find_shot(index)
        label, _, seen = _choose(SHOTS[shot], scenery, step, brief).partition(" | ")
        return {
            "title": self._write_title(brief, scenery, label, shot, index),
            "scene": f"{capitalize(brief.topic)}: {seen[:1].lower()}{seen[1:]}",
            "sound": _choose("sounds", scenery, step + shot, brief),
            "overlay": self._write_caption(brief, scenery, shot, step),
        }

    def _finish_scene(self, idea: dict[str, str], brief: Brief, scenery: Scenery, index: int, step: int) -> None:
        """Add light, camera and framing to a scene, and what else the brief says."""
        shot, cameras = self._find_shot(index), IMAGERY["shots"]["cameras"]
        camera = IMAGERY["shots"]["camera_leave"] if shot == 2 else cameras[(step // 3) % len(cameras)]
        lights = _allowed(scenery["lights"], brief)
        light = f" The light: {lights[step % len(lights)]}." if lights else ""
        frame = "" if index < len(self.subjects) or brief.kind == "explain" else f" {IMAGERY['shots'][SHOTS[shot]]}"
        around = f" Around it: {shorten('; '.join(brief.details), 120)}." if brief.details else ""
        idea["scene"] += f".{light} {camera}.{frame}{around}"

    def _write_title(self, brief: Brief, scenery: Scenery, label: str, shot: int, index: int) -> str:
        head = shorten(capitalize(brief.noun or brief.topic), 34)
        separator, number = ": ", (index - 1) // len(scenery["close"]) if shot == 1 else 0
        if brief.language not in ("en", "other"):
            label, separator = LANGUAGES[brief.language]["labels"][shot], " – "
            number = index - 1 if shot == 1 else 0
        # Further shots of a long film repeat the labels.
        return f"{head}{separator}{label}" + (f" {number + 1}" if number else "")

    def _write_caption(self, brief: Brief, scenery: Scenery, shot: int, step: int) -> str:
        language = brief.language if self.has_font and brief.language != "other" else "en"
        known, own = LANGUAGES[language]["captions"], scenery["captions"] if language == "en" else None
        default = own or known.get(scenery["name"], known["mood"])
        is_mood = brief.kind == "mood" or scenery["name"] == "network"
        texts = (default if is_mood else known.get(brief.kind, default))[shot]
        more = [*default[shot], *(OBJECT["captions"] if own else known["mood"])[shot]]
        values = {"noun": brief.noun, "Noun": capitalize(brief.noun), "day": brief.day}
        written = [
            caption
            for text in (*texts, *more)
            if all(values[name] for name in re.findall(r"{(\w+)}", text))
            and len(caption := text.format(**values)) <= MAX_CAPTION_LENGTH
            and not names_excluded(caption, brief.excluded)
        ]
        # A text with the subject or the day of the brief is the best one.
        best = [text for text in written[: len(texts)] if any(each and each in text for each in values.values())]
        usable = written if self.count > 3 and shot == 1 else best or written[: len(texts)] or written
        return usable[step % len(usable)] if usable else ""

    def _build_object_idea(self, brief: Brief, index: int, revision: int) -> dict[str, str]:
        subject, step = self.subjects[index], self.start + index + self.count * revision
        materials = [each for each in MATERIALS if not names_excluded(" ".join(each.values()), brief.excluded)]
        material = (materials or MATERIALS)[step % len(materials or MATERIALS)]
        name = f"{material['name']} {_choose_object(subject, index, revision)}"
        # "Sign — Object" names two parts and their separator; a longer text is a description.
        parts = re.fullmatch(r"\s*\w+(\s*[—–:|/-]\s*)\w+\s*", self.overlay_form)
        separator = parts[1] if parts else ": "
        # Every machine has a font for Latin, Greek and Cyrillic letters.
        label = subject + separator if all(letter < "\u0530" for letter in subject) else ""
        return {
            "title": f"{subject}: {name}",
            "scene": f"A {name.lower()} in extreme close-up, the object of {subject}, in the spirit of {brief.topic}."
            f" Two hands touch it slowly and {material['reaction']}",
            "sound": f"{capitalize(material['sound'])}; at second 3 a soft whisper: {name.lower()}.",
            "overlay": f"{label}{name}",
        }


def _choose_object(subject: str, index: int, revision: int) -> str:
    """Return the object of a subject; each revision has another one."""
    own: list[str] = _OBJECTS["objects"].get(subject.strip().lower())
    objects: list[str] = own or _OBJECTS["fallback"]
    return objects[(revision if own else index + 3 * revision) % len(objects)]


def _find_scenery(texts: Sequence[str], brief: Brief) -> list[Scenery]:
    """Return the scenery of the film, and that of its subject where it has one of its own."""
    words = [word for text in texts for word in _split_keywords(text, brief.language)]
    allowed = [scenery for scenery in IMAGERY["scenery"] if not names_excluded(scenery["name"], brief.excluded)]
    found, weak = (
        [scenery for word in words for scenery in allowed if word in scenery.get(field, "").split()]
        for field in ("keywords", "weak_keywords")
    )
    subjects = [scenery for scenery in found if scenery.get("is_subject")]
    places = [scenery for scenery in found if not scenery.get("is_subject")]
    if brief.kind == "explain":
        places, subjects = [scenery for scenery in subjects if scenery["name"] == "network"], []
    default = SCENERY_BY_NAME.get(LANGUAGES["default_scenery"].get(brief.kind), OBJECT)
    return [(places or subjects or weak or [default])[0], *subjects[:1]]


def _split_keywords(text: str, language: str) -> list[str]:
    """Return the words of a text as keywords have them, also those inside Japanese, Arabic and German words."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    if language == "ja":
        return [text[start:end] for start in range(len(text)) for end in range(start + 1, start + 5)]
    if language == "ar":
        return [form for word in words for form in (word, re.sub("^[وبلف]?(?:ال|لل)", "", word))]
    if language == "de":
        return [form for word in words for form in (word, *(word[n:] for n in range(3, len(word) - 3)))]
    return [form for word in words for form in (word, stem(word))]


def _choose(field: str, scenery: Scenery, step: int, brief: Brief) -> str:
    """Return an allowed text of the scenery, or of a plain object where the scenery has none."""
    texts = _allowed(scenery[field], brief) or _allowed(OBJECT[field], brief) or [IMAGERY["plain"][field]]
    return texts[step % len(texts)]


def _allowed(texts: Sequence[str], brief: Brief) -> list[str]:
    return [text for text in texts if not names_excluded(text, brief.excluded)]


def _count_ideas(request: str, schema: Mapping[str, Any], subjects: Sequence[str]) -> int:
    minimum = schema.get("properties", {}).get("ideas", {}).get("minItems")
    requested = re.search(r"\bmake (\d+) ideas?\b", request, re.IGNORECASE)
    return int(minimum or (requested[1] if requested else len(subjects) or 3))


def _extract_comments(request: str) -> list[str]:
    """Return the review comments on earlier revisions and the current one, oldest first."""
    comments = re.findall(r"^The reviewer: (.+)$", extract_section(request, "history"), re.MULTILINE)
    current = " ".join(extract_section(request, "comment").split())
    if current and (not comments or " ".join(comments[-1].split()) != current):
        comments.append(current)
    return comments
