"""Which message of a talk a message is, whatever of the conversation the client sends along."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from chat.placement import Placement, human_message, place_alone, place_with_history


def thread(*words: str) -> list[AnyMessage]:
    """What a thread knows: what the person said, and an answer to each."""
    return [m for n, w in enumerate(words, 1) for m in (human_message(w, n, w), AIMessage(f"On {w}", id=f"answer-{n}"))]


def sent(*words: str) -> list[AnyMessage]:
    """What a client sends along."""
    return [m for w in words for m in (HumanMessage(w, additional_kwargs={"digest": w}), AIMessage(f"On {w}"))]


def found(place: Placement) -> tuple[int, list[str], list[str]]:
    """Its number, and the words that it takes the place of, and those that were missed."""
    gone, missed = ([str(m.text) for m in each if isinstance(m, HumanMessage)] for each in (place.gone, place.missed))
    return place.number, gone, missed


@pytest.mark.parametrize(
    ("known", "said", "message", "expected"),
    [
        ("", "", "a", (1, [], [])),
        ("", "x y", "a", (3, [], ["x", "y"])),
        ("a", "a", "b", (2, [], [])),
        ("a b", "a", "b", (2, ["b"], [])),
        ("a b", "a", "c", (2, ["b"], [])),
        ("a b c", "a", "b", (2, ["b", "c"], [])),
        ("a b", "", "a", (1, ["a", "b"], [])),
        ("a b", "", "c", (3, [], [])),
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
        "begun with somebody else",
        "the next",
        "the last, sent again",
        "the last, edited",
        "an earlier one, sent again",
        "the first, sent again",
        "a client that sends no more than one",
        "the same words, three times",
        "the same words, the second time sent again",
        "only the end is sent",
        "only the end is sent, again",
        "the same words further on",
        "like the last one, as far as can be seen",
        "like one of long ago, as far as can be seen",
        "what came to nothing is missed",
        "nothing is known again",
    ],
)
def test_where_a_message_comes(known: str, said: str, message: str, expected: tuple[int, list[str], list[str]]) -> None:
    """Sent again it keeps its number; edited, it takes the place of what was said from there on."""
    words = known.split()

    assert found(place_with_history(thread(*words), sent(*said.split()), message, last=len(words))) == expected


@pytest.mark.parametrize(("again", "expected"), [(True, (2, ["b"], [])), (False, (3, [], []))])
def test_where_a_message_alone_comes(again: bool, expected: tuple[int, list[str], list[str]]) -> None:
    """Next, or in its own place."""
    assert found(place_alone(thread("a", "b"), "b", last=2, again=again)) == expected


def test_a_request_that_is_repeated_by_a_client_that_sends_one_message_at_a_time() -> None:
    """It is the same message, as long as it comes at once; later it is a new one."""
    known = thread("a", "b")

    assert found(place_with_history(known, [], "b", last=2, again=True)) == (2, ["b"], [])
    assert found(place_with_history(known, [], "b", last=2, again=False)) == (3, [], [])


def test_what_was_missed_is_known_from_then_on() -> None:
    """Sent again, the same message has the same number."""
    known = thread("a")
    first = place_with_history(known, sent("a", "refused"), "b", last=1)
    known += [*first.missed, human_message("b", first.number, "b"), AIMessage("On b", id="answer-b")]
    again = place_with_history(known, sent("a", "refused"), "b", last=3)

    assert (first.number, again.number) == (3, 3)
    assert found(again)[1:] == (["b"], [])
    assert isinstance(first.missed[-1], AIMessage)


def test_a_thread_that_has_forgotten_its_beginning_counts_on() -> None:
    """Numbers are those of the whole talk, not of what is left of it."""
    known = thread("a", "b", "c", "d")[4:]

    assert found(place_with_history(known, sent("a", "b", "c", "d"), "e", last=4)) == (5, [], [])
    assert found(place_with_history(known, sent("a", "b", "c"), "d", last=4)) == (4, ["d"], [])
