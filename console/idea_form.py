"""The form of the ideation page: the ideas as cards that a reviewer edits, orders, drops and adds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from pydantic import ValidationError

from agents.texts import EditedIdea, TextLength, clean_text
from graph.review_content import IdeasContent, ReviewContent
from prompts.project import MAX_CLIPS
from prompts.validation import describe_errors

TEXTS = ("title", "scene", "sound", "overlay", "narration")
#: The lengths of the texts of an idea, as the model has them.
LIMITS = {
    name: next(part for part in EditedIdea.model_fields[name].metadata if isinstance(part, TextLength)).limit
    for name in TEXTS
}
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
    def parse(cls, content: ReviewContent, fields: Sequence[tuple[str, str]] = ()) -> Self:
        """Return the form that was sent; without fields of cards, with the ideas of the content."""
        assert isinstance(content, IdeasContent)  # noqa: S101 - the ideation gate shows nothing else
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
    def sample(self) -> list[int]:
        """Return the numbers of the clips to make first, in the order of the kept ideas."""
        return [number for number, card in enumerate(self.kept, start=1) if card.in_sample]
