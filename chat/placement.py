"""Which message of a talk this is: a new one, one that is sent again, or one that takes the place of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AnyMessage, HumanMessage

#: Where a message of the person keeps which of theirs it is, and the digest of what they wrote.
NUMBER, DIGEST = "number", "digest"


@dataclass(frozen=True)
class Placement:
    """Where a message comes in the thread.

    `number` is which of the person's messages it is, `gone` what it takes the place of, and `missed` what was said
    before it and the thread does not know.
    """

    number: int
    gone: list[AnyMessage]
    missed: list[AnyMessage]


def human_message(text: str, number: int, digest: str) -> HumanMessage:
    """A message of the person as the thread keeps it; `digest` is that of what they wrote."""
    return HumanMessage(text, additional_kwargs={NUMBER: number, DIGEST: digest})


def place_alone(known: Sequence[AnyMessage], digest: str, *, last: int, again: bool) -> Placement:
    """The place of a message of a client that sends nothing else with it.

    `last` is the number of the message before it; `again` whether it is that one.
    """
    number = last if again else last + 1
    return Placement(number, _from(known, number), [])


def place_with_history(
    known: Sequence[AnyMessage], said: Sequence[AnyMessage], digest: str, *, last: int, again: bool = False
) -> Placement:
    """The place of a message of a client that sends what was `said` before it along: all of it, or the end of it.

    The end of what was said is found again in the thread; where it stands more than once, the place that fits
    best counts. Where nothing was said before, `again` is whether the message is the last one, sent twice.
    """
    ours, theirs = _persons(known), _persons(said)
    begins = [position for position, message in enumerate(said) if isinstance(message, HumanMessage)]
    if not theirs:
        # The first message, sent again; or a client that never sends more than one.
        is_first = bool(ours) and ours[0].additional_kwargs == {NUMBER: 1, DIGEST: digest}
        number = 1 if is_first else last if again else last + 1
        return Placement(number, _from(known, number), list(said) if not known else [])
    digests = [message.additional_kwargs.get(DIGEST) for message in ours]
    for end in range(len(theirs), 0, -1):
        wanted = [message.additional_kwargs[DIGEST] for message in theirs[:end]]
        fits = [
            # Where it stays open, a message like the last one is taken for the last one.
            (_alike(digests[: at + 1], wanted), at + 2 == len(ours) and digests[at + 1] == digest, at)
            for at, each in enumerate(digests)
            if each == wanted[-1]
        ]
        if fits:
            _, _, at = max(fits)
            number = ours[at].additional_kwargs[NUMBER] + 1
            missed = _numbered(said[begins[end] :] if end < len(theirs) else [], number)
            return Placement(number + len(_persons(missed)), _from(known, number), missed)
    missed = _numbered(said, last + 1)
    return Placement(last + 1 + len(_persons(missed)), [], missed)


def _persons(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    return [message for message in messages if isinstance(message, HumanMessage)]


def _from(messages: Sequence[AnyMessage], number: int) -> list[AnyMessage]:
    """The messages from the person's one of this number on."""
    for position, message in enumerate(messages):
        if message.additional_kwargs.get(NUMBER, 0) >= number:
            return list(messages[position:])
    return []


def _alike(ours: Sequence[str | None], theirs: Sequence[str]) -> int:
    """How many are the same, counted from the end."""
    count = 0
    for one, other in zip(reversed(ours), reversed(theirs), strict=False):
        if one != other:
            break
        count += 1
    return count


def _numbered(messages: Sequence[AnyMessage], first: int) -> list[AnyMessage]:
    numbered: list[AnyMessage] = []
    for message in messages:
        if isinstance(message, HumanMessage):
            kept = {**message.additional_kwargs, NUMBER: first}
            numbered.append(message.model_copy(update={"additional_kwargs": kept}))
            first += 1
        else:
            numbered.append(message)
    return numbered
