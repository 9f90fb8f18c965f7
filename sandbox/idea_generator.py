"""Rule-based ideas for a brief: distinct scenes that change in the direction of the review comments."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.objects import MATERIALS, choose_object
from sandbox.text import (
    FAULT_WORDS,
    capitalize,
    extract_keywords,
    extract_requests,
    extract_section,
    join_words,
    shorten,
    summarize_brief,
)
from sandbox.themes import CAMERAS, FALLBACK_THEME, Theme, find_theme

MAX_LENGTHS = {"title": 60, "scene": 600, "sound": 200, "overlay": 60}
MAX_OVERLAY_LENGTH = 40
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6}


def generate_ideas(request: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ideas for the brief, subjects and comments of a request; equal requests give equal ideas."""
    brief, subjects = extract_section(request, "brief"), extract_section(request, "subjects").split("\n")
    subjects = [subject.strip("- ") for subject in subjects if subject.strip("- ")]
    count = _count_ideas(request, schema, subjects)
    comments = _extract_comments(request)
    generator = _IdeaGenerator(brief, extract_section(request, "overlay_form"), subjects, count)
    ideas = [generator.build_idea(index, _select_comments(index, comments)) for index in range(count)]
    if fault_words := [word for word in FAULT_WORDS if word in brief]:
        ideas[0]["scene"] += " " + " ".join(fault_words)
    title = shorten(capitalize(summarize_brief(brief)), 66)
    return {"title": f"{title} (take {len(comments) + 1})" if comments else title, "ideas": ideas}


class _IdeaGenerator:
    """Builds the ideas of one brief, seeded with the brief."""

    def __init__(self, brief: str, overlay_form: str, subjects: Sequence[str], count: int) -> None:
        self.topic = summarize_brief(brief)
        self.overlay_form, self.subjects, self.count = overlay_form, subjects, count
        self.keywords = extract_keywords(brief)
        self.hints = [word for word in self.keywords if word not in self.topic.lower()][:3]
        self.start = random.Random(brief).randrange(56)  # noqa: S311 - not a secret

    def build_idea(self, index: int, comments: Sequence[str]) -> dict[str, str]:
        requests = list(dict.fromkeys(word for comment in comments for word in extract_requests(comment)))[-5:]
        # Each comment shifts an idea by the number of ideas, so that it never repeats another one.
        step = self.start + index + self.count * len(comments)
        theme = find_theme(list(reversed(requests))) or find_theme(self.keywords) or FALLBACK_THEME
        if index < len(self.subjects):
            idea = self._build_object_idea(self.subjects[index], index, step, len(comments))
        else:
            idea = self._build_scene_idea(theme, index, step)
        idea["scene"] += f", {theme.lights[step % len(theme.lights)]}. {CAMERAS[step % len(CAMERAS)]}."
        if self.hints:
            idea["scene"] += f" Hints of {join_words(self.hints)} run through it."
        _emphasize(idea, requests)
        return {name: shorten(text, MAX_LENGTHS[name]) for name, text in idea.items()}

    def _build_scene_idea(self, theme: Theme, index: int, step: int) -> dict[str, str]:
        thing = theme.things[step % len(theme.things)]
        place = theme.places[(step + step // len(theme.things)) % len(theme.places)]
        if index == 0:
            scene = f"A slow opening on {self.topic}: {thing} {place}"
        elif index == self.count - 1:
            scene = f"A last look at {thing} {place}, as {self.topic} comes to rest"
        else:
            scene = f"Close on {thing} {place}, in the middle of {self.topic}"
        title = capitalize(re.sub(r"^(an?|the) ", "", thing))
        if index >= len(theme.things):
            title += f" {place}"
        return {
            "title": title,
            "scene": scene,
            "sound": theme.sounds[step % len(theme.sounds)],
            "overlay": shorten(theme.captions[step % len(theme.captions)], MAX_OVERLAY_LENGTH),
        }

    def _build_object_idea(self, subject: str, index: int, step: int, revision: int) -> dict[str, str]:
        material, thing = MATERIALS[step % len(MATERIALS)], choose_object(subject, index, revision)
        name = f"{material.name} {thing}"
        # "Sign — Object" names two parts and their separator; a longer text is a description.
        parts = re.fullmatch(r"\s*\w+(\s*[—–:|/-]\s*)\w+\s*", self.overlay_form)
        separator = parts[1] if parts else ": "
        # Every machine has a font for Latin, Greek and Cyrillic letters.
        label = subject + separator if all(letter < "\u0530" for letter in subject) else ""
        return {
            "title": f"{subject}: {name}",
            "scene": f"A {name.lower()} in extreme close-up, the object of {subject}, in the spirit of {self.topic}."
            f" Two hands touch it slowly and {material.reaction}",
            "sound": f"{capitalize(material.sound)}; at second 3 a soft whisper: {name.lower()}.",
            "overlay": f"{label}{name}",
        }


def _emphasize(idea: dict[str, str], requests: Sequence[str]) -> None:
    if requests:
        idea["scene"] += f" The emphasis: {', '.join(requests)}."
    if single_words := [request for request in requests if " " not in request]:
        idea["title"] += f", {single_words[-1]}"


def _count_ideas(request: str, schema: Mapping[str, Any], subjects: Sequence[str]) -> int:
    minimum = schema.get("properties", {}).get("ideas", {}).get("minItems")
    if isinstance(minimum, int) and minimum > 0:
        return minimum
    requested = re.search(r"\bmake (\d+) ideas?\b", request, re.IGNORECASE)
    return int(requested[1]) if requested else len(subjects) or 3


def _extract_comments(request: str) -> list[str]:
    """Return the review comments on earlier revisions and the current one, oldest first."""
    comments = re.findall(r"^The reviewer: (.+)$", extract_section(request, "history"), re.MULTILINE)
    current = " ".join(extract_section(request, "comment").split())
    if current and (not comments or " ".join(comments[-1].split()) != current):
        comments.append(current)
    return comments


def _select_comments(index: int, comments: Sequence[str]) -> list[str]:
    """Return the comments on one idea: those that name its number, and those that name no number."""
    selected = []
    for comment in comments:
        numbers = {int(n) for n in re.findall(r"(?:ideas?|clips?|number|#|and|,) ?(\d+)", comment.lower())}
        numbers |= {n for word, n in ORDINALS.items() if re.search(rf"\b{word} (idea|clip|scene)", comment.lower())}
        if not numbers or index + 1 in numbers:
            selected.append(comment)
    return selected
