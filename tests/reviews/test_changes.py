"""What changed between two revisions."""

from __future__ import annotations

from typing import Any

import pytest

from runs.reviews import diff_values

IDEAS = [{"title": "Rain", "scene": "A quiet window"}, {"title": "Snow", "scene": "A lake of ice"}]


def told(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Before and after, by place."""
    return {change["at"]: (change["before"], change["after"]) for change in diff_values(before, after)}


def test_what_is_the_same_is_not_told() -> None:
    """Equal revisions have no changes."""
    assert diff_values({"ideas": IDEAS, "title": "x"}, {"ideas": IDEAS, "title": "x"}) == []


def test_words_that_stayed_went_and_came_are_told_apart() -> None:
    """The pieces of a text put together are the text before, and the text after."""
    [change] = diff_values({"caption": "A calm rain at night"}, {"caption": "A wild rain at noon"})

    assert change["at"] == "caption"
    assert [piece["op"] for piece in change["diff"]] == ["same", "removed", "added", "same", "removed", "added"]
    for op, text in (("removed", "A calm rain at night"), ("added", "A wild rain at noon")):
        assert "".join(piece["text"] for piece in change["diff"] if piece["op"] in ("same", op)) == text


def test_a_change_names_its_place() -> None:
    """Down to the field of the item, counted from 0."""
    after = [IDEAS[0], {**IDEAS[1], "scene": "A lake of black ice"}]

    assert told({"ideas": IDEAS}, {"ideas": after}) == {"ideas.1.scene": ("A lake of ice", "A lake of black ice")}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([IDEAS[1]], {"ideas.0": (IDEAS[0], None)}),
        ([*IDEAS, {"title": "Fog", "scene": "x"}], {"ideas.2": (None, {"title": "Fog", "scene": "x"})}),
        ([{"title": "Fog", "scene": "x"}, *IDEAS], {"ideas.0": (None, {"title": "Fog", "scene": "x"})}),
    ],
    ids=["dropped", "added at the end", "added before"],
)
def test_what_only_moved_is_not_told_as_new(after: list[Any], expected: dict[str, Any]) -> None:
    """Of a list it is told what came and what went."""
    assert told({"ideas": IDEAS}, {"ideas": after}) == expected


def test_lists_of_words_and_numbers_are_told_whole() -> None:
    """Hashtags and prices have no places inside."""
    before = {"hashtags": ["#rain", "#calm"], "usd": "0.40", "make": [1, 2]}
    after = {"hashtags": ["#rain", "#wild"], "usd": "0.20", "make": [1]}

    assert told(before, after) == {
        "hashtags": (["#rain", "#calm"], ["#rain", "#wild"]),
        "usd": ("0.40", "0.20"),
        "make": ([1, 2], [1]),
    }
    by_place = {change["at"]: change["diff"] for change in diff_values(before, after)}
    assert by_place["hashtags"] == [
        {"op": "same", "text": "#rain "},
        {"op": "removed", "text": "#calm"},
        {"op": "added", "text": "#wild"},
    ]
