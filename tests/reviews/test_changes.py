"""The changes between two revisions."""

from __future__ import annotations

from typing import Any

import pytest

from runs.reviews import DiffPart, diff_values

IDEAS = [{"title": "Rain", "scene": "A quiet window"}, {"title": "Snow", "scene": "A lake of ice"}]


def changes(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Before and after, by path."""
    return {change.path: (change.before, change.after) for change in diff_values(before, after)}


def test_equal_revisions_have_no_changes() -> None:
    """Equal revisions have no changes."""
    assert diff_values({"ideas": IDEAS, "title": "x"}, {"ideas": IDEAS, "title": "x"}) == []


def test_diff_of_a_text_has_both_texts() -> None:
    """The parts of a diff together are the text before, and the text after."""
    [change] = diff_values({"caption": "A calm rain at night"}, {"caption": "A wild rain at noon"})

    assert change.path == "caption"
    assert [part.op for part in change.diff] == ["same", "removed", "added", "same", "removed", "added"]
    for op, text in (("removed", "A calm rain at night"), ("added", "A wild rain at noon")):
        assert "".join(part.text for part in change.diff if part.op in ("same", op)) == text


def test_change_has_the_path_of_its_field() -> None:
    """The path ends in the field of the item, with indices from 0."""
    after = [IDEAS[0], {**IDEAS[1], "scene": "A lake of black ice"}]

    assert changes({"ideas": IDEAS}, {"ideas": after}) == {"ideas.1.scene": ("A lake of ice", "A lake of black ice")}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([IDEAS[1]], {"ideas.0": (IDEAS[0], None)}),
        ([*IDEAS, {"title": "Fog", "scene": "x"}], {"ideas.2": (None, {"title": "Fog", "scene": "x"})}),
        ([{"title": "Fog", "scene": "x"}, *IDEAS], {"ideas.0": (None, {"title": "Fog", "scene": "x"})}),
    ],
    ids=["dropped", "added at the end", "added before"],
)
def test_moved_item_is_no_change(after: list[Any], expected: dict[str, Any]) -> None:
    """The changes of a list are its added and removed items."""
    assert changes({"ideas": IDEAS}, {"ideas": after}) == expected


def test_list_of_plain_values_changes_as_a_whole() -> None:
    """Hashtags and numbers have no paths of their own."""
    before = {"hashtags": ["#rain", "#calm"], "usd": "0.40", "make": [1, 2]}
    after = {"hashtags": ["#rain", "#wild"], "usd": "0.20", "make": [1]}

    assert changes(before, after) == {
        "hashtags": (["#rain", "#calm"], ["#rain", "#wild"]),
        "usd": ("0.40", "0.20"),
        "make": ([1, 2], [1]),
    }
    by_path = {change.path: change.diff for change in diff_values(before, after)}
    assert by_path["hashtags"] == [
        DiffPart(op="same", text="#rain "),
        DiffPart(op="removed", text="#calm"),
        DiffPart(op="added", text="#wild"),
    ]
