"""Clips that are not as they were ordered: the film gets shorter, and the reviewer is told."""

from __future__ import annotations

import pytest

from graph.nodes.film import _fit_lengths
from graph.review_content import FilmContent, channels_of, content_at, describe_clips
from tests.graph.fakes import PROJECT, RunHarness
from tests.graph.test_review_content import STATE

APPROVE = {"verdict": "approve", "number": 1}
WARNING = "It lasts 3.70 s instead of 4 s, so the film is shorter."


async def test_a_short_clip_makes_the_film_shorter_and_is_a_warning() -> None:
    """The manifest has the delivered length; the publish gate presents the warnings of the clips and of the film."""
    run = RunHarness()
    await run.start()
    await run.answer(APPROVE)
    first, *others = run.ledger.open_keys()
    run.ledger.settle(first, seconds=3.7, warnings=[WARNING])
    for key in others:
        run.ledger.settle(key, seconds=4.3)
    await run.resume()
    (render,) = run.ledger.orders_of("render")
    run.ledger.settle(str(render.key), notices=["The film has -20.0 LUFS instead of -14."])
    content = (await run.resume())["content"]

    assert [clip["seconds"] for clip in render.request["clips"]] == [3.7, *[4] * len(others)]
    assert content["warnings"] == [f"Clip 1: {WARNING}", "The film has -20.0 LUFS instead of -14."]


@pytest.mark.parametrize(
    ("delivered", "lengths", "crossfade"),
    [
        ([4, 4, 4], [4, 4, 4], 0.5),
        ([4, 2, 4], [4, 2, 4], 0.5),
        ([4, 0.7, 4], [4, 0.7, 4], 1 / 3),
        ([2], [3], 0.5),
        ([1, 1], [1, 2.5], 0.5),
    ],
    ids=str,
)
def test_lengths_fit_a_film_that_can_be_rendered(delivered, lengths, crossfade) -> None:
    """A clip is at least two crossfades long, and a film has the minimum length."""
    assert _fit_lengths(delivered, PROJECT) == (pytest.approx(lengths), pytest.approx(crossfade))


def test_warnings_stay_with_the_film_when_the_post_is_edited() -> None:
    """They are not among what is posted, and a film without any has the digest that it had before."""
    warned = content_at("publish", {**STATE, "film": {**STATE["film"], "notices": [WARNING]}})
    assert isinstance(warned, FilmContent)

    assert describe_clips(warned) == WARNING
    assert (
        "notices" not in channels_of(warned, STATE)["caption"] or not channels_of(warned, STATE)["caption"]["notices"]
    )
    assert "warnings" not in content_at("publish", STATE).model_dump(mode="json")
