"""The place of a message in its thread, for every kind of history that a client sends along."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from chat.placement import Placement, find_place, human_message


def conversation(*texts: str) -> list[AnyMessage]:
    """Return these messages of the person and an answer to each, as a thread keeps them and as a client sends them."""
    return [m for t in texts for m in (human_message(t, t), AIMessage(f"On {t}"))]


def summary(place: Placement) -> tuple[int, list[str], list[str]]:
    """Return its number, and the texts of the person that it replaces and that were missed."""
    replaced, missed = (
        [str(m.text) for m in each if isinstance(m, HumanMessage)] for each in (place.replaced, place.missed)
    )
    return place.number, replaced, missed


@pytest.mark.parametrize(
    ("known", "history", "message", "expected"),
    [
        ("", "", "a", (1, [], [])),
        ("", "x y", "a", (3, [], ["x", "y"])),
        ("a", "a", "b", (2, [], [])),
        ("a b", "a", "b", (2, ["b"], [])),
        ("a b", "a", "c", (2, ["b"], [])),
        ("a b c", "a", "b", (2, ["b", "c"], [])),
        ("a b", "", "a", (1, ["a", "b"], [])),
        ("a a", "a a", "a", (3, [], [])),
        ("a a", "a", "a", (2, ["a"], [])),
        ("x a b", "b", "c", (4, [], [])),
        ("x a b c", "a b", "c", (4, ["c"], [])),
        ("a b a", "b a", "b", (4, [], [])),
        ("x a a", "a", "a", (3, ["a"], [])),
        ("a b b c b b", "b", "c", (7, [], [])),
        ("a", "a refused", "b", (3, [], ["refused"])),
        ("a b", "elsewhere", "c", (4, [], ["elsewhere"])),
    ],
    ids=[
        "the first",
        "started with another model",
        "the next",
        "the last, sent again",
        "the last, edited",
        "an earlier one, sent again",
        "the first, sent again",
        "the same text, three times",
        "the same text, the second time sent again",
        "only the end is sent",
        "only the end is sent, again",
        "the same text further on",
        "ambiguous: taken for the last one",
        "ambiguous: taken for a new one",
        "a refused message is missed",
        "nothing is found in the thread",
    ],
)
def test_placement_with_history(
    known: str, history: str, message: str, expected: tuple[int, list[str], list[str]]
) -> None:
    """A message sent again keeps its number; an edited one replaces everything from its place on."""
    texts = known.split()

    assert (
        summary(find_place(conversation(*texts), conversation(*history.split()), message, last=len(texts))) == expected
    )


@pytest.mark.parametrize(("is_repeat", "expected"), [(True, (2, ["b"], [])), (False, (3, [], []))])
def test_placement_of_a_message_alone(is_repeat: bool, expected: tuple[int, list[str], list[str]]) -> None:
    """It is the next one, or replaces itself."""
    assert summary(find_place(conversation("a", "b"), None, "a", last=2, is_repeat=is_repeat)) == expected


def test_missed_messages_are_known_afterwards() -> None:
    """Sent again, the same message has the same number."""
    known = conversation("a")
    first = find_place(known, conversation("a", "refused"), "b", last=1)
    known += [*first.missed, human_message("b", "b"), AIMessage("On b")]
    again = find_place(known, conversation("a", "refused"), "b", last=3)

    assert (first.number, again.number) == (3, 3)
    assert summary(again)[1:] == (["b"], [])
    assert isinstance(first.missed[-1], AIMessage)


def test_a_trimmed_thread_keeps_counting() -> None:
    """Numbers are those of the whole conversation, not of the part that the thread keeps."""
    known = conversation("a", "b", "c", "d")[4:]

    assert summary(find_place(known, conversation("a", "b", "c", "d"), "e", last=4)) == (5, [], [])
    assert summary(find_place(known, conversation("a", "b", "c"), "d", last=4)) == (4, ["d"], [])
