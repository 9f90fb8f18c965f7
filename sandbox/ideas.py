"""Ideas: scenes that follow a brief, each different, and changed in the direction of a comment."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.objects import MATERIALS, object_of
from sandbox.themes import ANYTHING, CAMERAS, Theme, theme_of
from sandbox.words import CONTROL, capitalised, listed, phrase, section, shortened, significant, wishes

LIMITS = {"title": 60, "scene": 600, "sound": 200, "overlay": 60}
CAPTION = 40
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6}


def ideas(request: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The ideas a request asks for, in the form of its schema."""
    brief, subjects = section(request, "brief"), section(request, "subjects").split("\n")
    subjects = [subject.strip("- ") for subject in subjects if subject.strip("- ")]
    count = _count(request, schema, subjects)
    said = _comments(request)
    writer = _Writer(brief, section(request, "overlay_form"), subjects, count)
    made = [writer.idea(place, _meant_for(place, said)) for place in range(count)]
    if control := [word for word in CONTROL if word in brief]:
        made[0]["scene"] += " " + " ".join(control)
    title = shortened(capitalised(phrase(brief)), 66)
    return {"title": f"{title} (take {len(said) + 1})" if said else title, "ideas": made}


class _Writer:
    """Writes the ideas of one brief; the same brief and comments give the same ideas."""

    def __init__(self, brief: str, form: str, subjects: Sequence[str], count: int) -> None:
        self.phrase = phrase(brief)
        self.form, self.subjects, self.count = form, subjects, count
        self.words = significant(brief)
        self.hints = [word for word in self.words if word not in self.phrase.lower()][:3]
        self.chance = random.Random(brief)  # noqa: S311 - no secret, and the same every time
        self.start = self.chance.randrange(56)

    def idea(self, place: int, comments: Sequence[str]) -> dict[str, str]:
        wished = list(dict.fromkeys(wish for comment in comments for wish in wishes(comment)))[-5:]
        # Every comment moves an idea on by as many as there are, so that it meets no other one.
        step = self.start + place + self.count * len(comments)
        theme = theme_of(list(reversed(wished))) or theme_of(self.words) or ANYTHING
        subject = self.subjects[place] if place < len(self.subjects) else None
        made = self._object(subject, place, step, len(comments)) if subject else self._moment(theme, place, step)
        made["scene"] += f", {theme.lights[step % len(theme.lights)]}. {CAMERAS[step % len(CAMERAS)]}."
        if self.hints:
            made["scene"] += f" Hints of {listed(self.hints)} run through it."
        if wished:
            made["scene"] += f" The emphasis: {', '.join(wished)}."
        if wanted := [wish for wish in wished if " " not in wish]:
            made["title"] += f", {wanted[-1]}"
        return {name: shortened(text, LIMITS[name]) for name, text in made.items()}

    def _moment(self, theme: Theme, place: int, step: int) -> dict[str, str]:
        thing = theme.things[step % len(theme.things)]
        where = theme.places[(step + step // len(theme.things)) % len(theme.places)]
        if place == 0:
            scene = f"A slow opening on {self.phrase}: {thing} {where}"
        elif place == self.count - 1:
            scene = f"A last look at {thing} {where}, as {self.phrase} comes to rest"
        else:
            scene = f"Close on {thing} {where}, in the middle of {self.phrase}"
        title = capitalised(re.sub(r"^(an?|the) ", "", thing))
        if place >= len(theme.things):
            title += f" {where}"
        return {
            "title": title,
            "scene": scene,
            "sound": theme.sounds[step % len(theme.sounds)],
            "overlay": shortened(theme.captions[step % len(theme.captions)], CAPTION),
        }

    def _object(self, subject: str, place: int, step: int, turn: int) -> dict[str, str]:
        material, thing = MATERIALS[step % len(MATERIALS)], object_of(subject, place, turn)
        name = f"{material.name} {thing}"
        # "Sign — Object" names two parts and what stands between them; anything longer is a description.
        parts = re.fullmatch(r"\s*\w+(\s*[—–:|/-]\s*)\w+\s*", self.form)
        between = parts[1] if parts else ": "
        return {
            "title": f"{subject}: {name}",
            "scene": f"A {name.lower()} in extreme close-up, the object of {subject}, in the spirit of {self.phrase}."
            f" Two hands touch it slowly and {material.touched}",
            "sound": f"{capitalised(material.sound)}; at second 3 a soft whisper: {name.lower()}.",
            "overlay": f"{subject}{between}{name}",
        }


def _count(request: str, schema: Mapping[str, Any], subjects: Sequence[str]) -> int:
    wanted = schema.get("properties", {}).get("ideas", {}).get("minItems")
    if isinstance(wanted, int) and wanted > 0:
        return wanted
    asked = re.search(r"\bmake (\d+) ideas?\b", request, re.IGNORECASE)
    return int(asked[1]) if asked else len(subjects) or 3


def _comments(request: str) -> list[str]:
    """What was said of earlier revisions, in order, and now."""
    said = re.findall(r"^The reviewer: (.+)$", section(request, "history"), re.MULTILINE)
    now = " ".join(section(request, "comment").split())
    if now and (not said or " ".join(said[-1].split()) != now):
        said.append(now)
    return said


def _meant_for(place: int, said: Sequence[str]) -> list[str]:
    """The comments that concern one idea: those that name its number, and those that name none."""
    meant = []
    for comment in said:
        named = {int(n) for n in re.findall(r"(?:ideas?|clips?|number|#|and|,) ?(\d+)", comment.lower())}
        named |= {n for word, n in ORDINALS.items() if re.search(rf"\b{word} (idea|clip|scene)", comment.lower())}
        if not named or place + 1 in named:
            meant.append(comment)
    return meant
