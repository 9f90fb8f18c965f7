"""The forms of reviews: ideas as cards that a reviewer edits, orders, drops and adds, and a film with its clips."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, get_args

from pydantic import ValidationError

from agents.texts import CaptionText, EditedIdea, TextLength, clean_text
from graph.decisions import ClipNote, DecisionInput, Verdict
from graph.review_content import FilmContent, FilmEdits, IdeasContent, edited_content
from prompts.project import MAX_CLIPS
from prompts.validation import describe_errors
from providers.publications.post import caption_problem, post_text
from runs.errors import InvalidRequest
from runs.reviews import FilmParts

Fields = Sequence[tuple[str, str]]
TEXTS = ("title", "scene", "sound", "overlay", "narration")
#: The most characters of the texts of an idea, as the model has them, and of those of a film.
LIMITS = {
    name: next(part for part in EditedIdea.model_fields[name].metadata if isinstance(part, TextLength)).limit
    for name in TEXTS
}
FILM_LIMITS = {"caption": get_args(CaptionText)[1].limit, "overlay": LIMITS["overlay"], "note": 1_000}
EMPTY = dict.fromkeys((*TEXTS, "image"), "")
#: The key of a card is the number of its idea in the review, or one of these for an idea that was added.
NEW_KEYS = [f"new{number}" for number in range(1, MAX_CLIPS + 1)]


@dataclass(frozen=True)
class Card:
    """An idea as it was typed. `idea` has its texts by field, and its image."""

    key: str
    idea: dict[str, str]
    is_kept: bool
    in_sample: bool

    @cached_property
    def errors(self) -> dict[str, str]:
        """Return what is wrong with the texts, by field."""
        try:
            EditedIdea.model_validate(self.idea)
        except ValidationError as error:
            return {str(each["loc"][0]): describe_errors([{**each, "loc": ()}]) for each in error.errors()}
        return {}


@dataclass(frozen=True)
class IdeaForm:
    """The cards of a review in order, the comment, and the digest of the content that the page showed."""

    content: IdeasContent
    cards: Sequence[Card]
    digest: str
    comment: str

    @classmethod
    def parse(cls, content: IdeasContent, fields: Fields = ()) -> Self:
        """Return the form that was sent; without fields of cards, with the ideas of the content."""
        numbered = enumerate(content.ideas, start=1)
        known = {str(number): {name: getattr(idea, name) for name in EMPTY} for number, idea in numbered}
        sent = {name: clean_text(value.replace("\r\n", "\n")) for name, value in fields}
        keys = dict.fromkeys(value for name, value in fields if name == "card" and value in [*known, *NEW_KEYS])
        cards = [
            Card(
                key,
                {name: sent.get(f"{name}-{key}", before) for name, before in known.get(key, EMPTY).items()},
                not keys or ("keep", key) in fields or len(content.make) != len(content.ideas),
                ("sample", key) in fields,
            )
            for key in [*(keys or known)][:MAX_CLIPS]
        ]
        return cls(content, cards, sent.get("digest", ""), sent.get("comment", ""))

    def after(self, action: str) -> Self:
        """Return the form after an action on its cards: `add`, or `up` or `down` with the key of a card."""
        verb, _, key = action.partition(" ")
        cards, keys = [*self.cards], [card.key for card in self.cards]
        if verb == "add" and len(cards) < MAX_CLIPS:
            cards.append(Card(next(name for name in NEW_KEYS if name not in keys), EMPTY, True, False))
        if verb in ("up", "down") and key in keys:
            place = keys.index(key)
            cards.insert(max(place + (1 if verb == "down" else -1), 0), cards.pop(place))
        return replace(self, cards=cards)

    @property
    def kept(self) -> list[Card]:
        """Return the cards of the ideas to keep."""
        return [card for card in self.cards if card.is_kept]

    @property
    def edits(self) -> list[dict[str, str]] | None:
        """Return the ideas as edits of a decision; None if they are those of the review."""
        ideas = [card.idea for card in self.kept]
        return None if ideas == [card.idea for card in self.parse(self.content).cards] else ideas

    @property
    def fault(self) -> str:
        """Return what is wrong with the ideas to keep, in a sentence; empty if nothing is."""
        if any(card.errors for card in self.kept):
            return "Correct the marked texts."
        return "" if self.kept else "Keep at least one idea."

    def decision(self, verdict: Verdict, verb: str) -> DecisionInput:
        """Return the decision of a button, with the ideas as they were typed. Raises InvalidRequest."""
        sample = self.sample if verb == "sample" else []
        if verb == "sample" and not sample:
            raise InvalidRequest("Mark “Make a sample of this clip first” at the clips to make first.", field="sample")
        edits = None if verb in ("reject", "unedited") else self.edits
        return DecisionInput(verdict=verdict, comment=self.comment, edits=edits, sample=sample, digest=self.digest)

    @property
    def sample(self) -> list[int]:
        """Return the numbers of the clips to make first, in the order of the kept ideas."""
        return [number for number, card in enumerate(self.kept, start=1) if card.in_sample]


@dataclass(frozen=True)
class FilmForm:
    """The texts of the form of a film by field, and the clips to generate again. `digest` is that of the page.

    Each clip has fields such as `note-2`. A button moves `remark`, a comment at the time `at` in seconds, to the note
    of the clip that is there.
    """

    content: FilmContent
    parts: FilmParts
    texts: Mapping[str, str]
    redo: Sequence[int]
    digest: str

    @classmethod
    def parse(cls, film: FilmContent, parts: FilmParts, fields: Fields = ()) -> Self:
        """Return the form that was sent; without fields, with the texts of the film."""
        sent = {name: clean_text(value.replace("\r\n", "\n")) for name, value in fields}
        redo = [clip.clip for clip in film.clips if ("redo", str(clip.clip)) in fields]
        texts = {name: sent.get(name, text) for name, text in _texts_of(film).items()}
        if "action" in sent and (clip := _clip_at(film, parts, texts)):
            note = f"{texts[f'note-{clip}']}\nAt {texts['at']} s: {texts['remark']}".strip()
            texts |= {f"note-{clip}": note, "at": "", "remark": ""}
        return cls(film, parts, texts, redo, sent.get("digest", ""))

    @property
    def notes(self) -> Mapping[int, str]:
        """Return the notes by clip."""
        notes = {clip.clip: self.texts[f"note-{clip.clip}"] for clip in self.content.clips}
        return {clip: note for clip, note in notes.items() if note}

    @property
    def takes(self) -> Mapping[int, int]:
        """Return the takes to use instead of those in the film, by clip."""
        chosen = {clip.clip: (self.texts[f"take-{clip.clip}"], str(clip.take)) for clip in self.content.clips}
        return {n: int(new) for n, (new, old) in chosen.items() if new != old and re.fullmatch("[0-9]{1,4}", new)}

    @cached_property
    def edits(self) -> Mapping[str, Any]:
        """Return the edited texts as edits of a decision."""
        known = _texts_of(self.content)
        changed = {name: text for name, text in self.texts.items() if text != known[name]}
        overlays = {name.partition("-")[2]: text for name, text in changed.items() if name.startswith("overlay-")}
        tags = changed["hashtags"].split() if "hashtags" in changed else None
        edits = {"caption": changed.get("caption"), "hashtags": tags, "overlays": overlays or None}
        return {name: value for name, value in edits.items() if value is not None}

    @cached_property
    def errors(self) -> Mapping[str, str]:
        """Return what is wrong with the texts, by field."""
        long = [f"note-{clip}" for clip, note in self.notes.items() if len(note) > FILM_LIMITS["note"]]
        found = dict.fromkeys(long, f"must have at most {FILM_LIMITS['note']:,} characters")
        others = self.notes.keys() - {*self.redo} if self.redo else ()
        found |= {f"note-{clip}": "must be empty, or this clip marked, while others are redone" for clip in others}
        if _clip_at(self.content, self.parts, self.texts) is None:
            found["at"] = f"must be a time of the film, from 0 to {self.content.film.seconds:g} seconds"
        if problem := caption_problem(self.texts["caption"], self.content.platforms):
            found["caption"] = problem
        try:
            FilmEdits.model_validate({**self.edits, "publish_at": self.texts["publish_at"] or None})
        except ValidationError as error:
            for each in error.errors():
                name = "-".join(map(str, each["loc"][:2])).replace("overlays", "overlay")
                found[name] = describe_errors([{**each, "loc": ()}])
        return found

    @property
    def posted(self) -> FilmContent:
        """Return the film with its edited post; without the edits while the texts have errors."""
        return self.content if self.errors else edited_content(self.content, self.edits)

    def decision(self, verdict: Verdict, verb: str) -> DecisionInput:
        """Return the decision of a button, with all that was typed. Raises InvalidRequest."""
        others = {clip: note for clip, note in self.notes.items() if clip not in self.redo}
        words = "\n".join([self.texts["comment"], *(f"Clip {clip}: {note}" for clip, note in others.items())]).strip()
        decision = DecisionInput(verdict=verdict, comment=words, digest=self.digest)
        if verdict == "reject":
            return decision
        if self.errors:
            raise InvalidRequest("Nothing was decided. Correct the marked texts.")
        clips = [ClipNote(clip=clip, comment=self.notes.get(clip, "")) for clip in self.redo]
        publish_at = self.texts["publish_at"] if verdict == "approve" else None
        changes = {"edits": self.edits or None, "clips": clips, "takes": self.takes, "publish_at": publish_at or None}
        return decision.model_copy(update=changes)


def _texts_of(film: FilmContent) -> Mapping[str, str]:
    """Return the texts of all fields before anything is typed."""
    texts = {"caption": film.caption, "hashtags": post_text("", film.hashtags)}
    texts |= dict.fromkeys(("comment", "publish_at", "at", "remark"), "")
    for clip in film.clips:
        texts |= {f"overlay-{clip.clip}": clip.overlay, f"note-{clip.clip}": "", f"take-{clip.clip}": str(clip.take)}
    return texts


def _clip_at(film: FilmContent, parts: FilmParts, texts: Mapping[str, str]) -> int | None:
    """Return the clip at the time of the comment: 0 without a comment, and None at no time of the film."""
    if not texts["remark"]:
        return 0
    is_time = re.fullmatch("[0-9]{1,4}([.,][0-9]{1,6})?", texts["at"])
    at = float(texts["at"].replace(",", ".")) if is_time else film.film.seconds + 1
    return max((clip for clip, start in parts.starts.items() if start <= at <= film.film.seconds), default=None)
