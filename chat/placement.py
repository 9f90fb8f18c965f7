"""Place a message in its thread: a new message, a repeated one, or one that replaces another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AnyMessage, HumanMessage

#: The keys of `additional_kwargs` of a person's message: its number, and the digest of the text that was sent.
NUMBER, DIGEST = "number", "digest"


@dataclass(frozen=True)
class Placement:
    """The place of a message in its thread.

    Attributes:
        number: The position among the person's messages, from 1.
        replaced: The messages of the thread that it replaces.
        missed: Messages before it that the client sent and the thread does not contain.
    """

    number: int
    replaced: list[AnyMessage]
    missed: list[AnyMessage]


def human_message(text: str, number: int, digest: str) -> HumanMessage:
    """Return a person's message in the form that a thread keeps; `digest` is that of the text that was sent."""
    return HumanMessage(text, additional_kwargs={NUMBER: number, DIGEST: digest})


def place_alone(known: Sequence[AnyMessage], *, last: int, is_repeat: bool) -> Placement:
    """Return the place of a message of a client that sends no history.

    `last` is the number of the message before; `is_repeat` is true if that message was sent again.
    """
    number = last if is_repeat else last + 1
    return Placement(number, _messages_from(known, number), [])


def place_with_history(
    known: Sequence[AnyMessage], history: Sequence[AnyMessage], digest: str, *, last: int, is_repeat: bool = False
) -> Placement:
    """Return the place of a message of a client that sends the `history` before it: all of it, or the end of it.

    The end of the history is searched in the thread; if it occurs more than once, the place with the longest match
    counts. With an empty history `is_repeat` is true if the last message was sent again.
    """
    known_people, sent_people = _human_messages(known), _human_messages(history)
    if not sent_people:
        # The first message, sent again; or a client that never sends more than one.
        is_first = bool(known_people) and known_people[0].additional_kwargs == {NUMBER: 1, DIGEST: digest}
        number = 1 if is_first else last if is_repeat else last + 1
        return Placement(number, _messages_from(known, number), [] if known else list(history))
    known_digests = [message.additional_kwargs.get(DIGEST) for message in known_people]
    positions = [position for position, message in enumerate(history) if isinstance(message, HumanMessage)]
    for end in range(len(sent_people), 0, -1):
        sent_digests = [message.additional_kwargs[DIGEST] for message in sent_people[:end]]
        if (match := _find_match(known_digests, sent_digests, digest)) is not None:
            number = known_people[match].additional_kwargs[NUMBER] + 1
            missed = _renumber(history[positions[end] :] if end < len(sent_people) else [], number)
            return Placement(number + len(_human_messages(missed)), _messages_from(known, number), missed)
    missed = _renumber(history, last + 1)
    return Placement(last + 1 + len(_human_messages(missed)), [], missed)


def _find_match(known: Sequence[str | None], sent: Sequence[str], digest: str) -> int | None:
    """Return the index in `known` at which `sent` ends, or None.

    If several places match equally well, a message equal to the last one of the thread is taken for that one.
    """
    matches = [
        (_count_equal(known[: index + 1], sent), index + 2 == len(known) and known[index + 1] == digest, index)
        for index, each in enumerate(known)
        if each == sent[-1]
    ]
    return max(matches)[-1] if matches else None


def _human_messages(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    return [message for message in messages if isinstance(message, HumanMessage)]


def _messages_from(messages: Sequence[AnyMessage], number: int) -> list[AnyMessage]:
    """Return the messages from the person's message with this number on."""
    for position, message in enumerate(messages):
        if message.additional_kwargs.get(NUMBER, 0) >= number:
            return list(messages[position:])
    return []


def _count_equal(known: Sequence[str | None], sent: Sequence[str]) -> int:
    """Count the equal digests from the end."""
    count = 0
    for one, other in zip(reversed(known), reversed(sent), strict=False):
        if one != other:
            break
        count += 1
    return count


def _renumber(messages: Sequence[AnyMessage], first: int) -> list[AnyMessage]:
    renumbered: list[AnyMessage] = []
    for message in messages:
        if isinstance(message, HumanMessage):
            message = message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, NUMBER: first}})
            first += 1
        renumbered.append(message)
    return renumbered
