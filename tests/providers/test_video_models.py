"""The first model that can generate a clip offers it, unless the project names one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from prompts.project import VideoChoice
from providers.video_models import VideoModel, VideoModels
from providers.video_profiles import Profile, ProfileError


def model(provider: str, name: str, **fields: Any) -> VideoModel:
    base = {"hosts": ["*"], "models": [name], "sizes": ["720x1280"], "seconds": [4], "usd_per_second": "0.10"}
    return VideoModel(provider, Profile.model_validate(base | fields))


MODELS = VideoModels(
    [
        model("videos", "wan", seconds=[5]),
        model("kling", "turbo", sound="always"),
        model("kling", "native", sound="choice", usd_per_second_with_sound="0.20"),
        model("replicate", "silent", sound="never"),
    ]
)


@pytest.mark.parametrize(
    ("seconds", "choice", "expected"),
    [
        (5, None, ("videos", "wan", None, "0.50")),
        (4, None, ("kling", "turbo", True, "0.40")),
        (4, {"provider": "kling", "model": "native"}, ("kling", "native", True, "0.80")),
        (4, {"provider": "kling", "sound": False}, ("kling", "native", False, "0.40")),
        (4, {"sound": False}, ("kling", "native", False, "0.40")),
        (4, {"model": "silent"}, ("replicate", "silent", False, "0.40")),
        (5, {"provider": "videos", "sound": True}, ("videos", "wan", None, "0.50")),
    ],
)
def test_offer(seconds: int, choice: dict[str, Any] | None, expected: tuple[Any, ...]) -> None:
    """Provider, model, sound and price of a clip."""
    offer = MODELS.offer(seconds, "720x1280", VideoChoice(**choice) if choice else None)

    assert (offer.provider, offer.model, offer.sound, offer.usd_per_clip) == (*expected[:3], Decimal(expected[3]))


@pytest.mark.parametrize(
    ("choice", "seconds", "code", "words"),
    [
        (None, 9, "video_seconds_unsupported", "wan generates clips of 5 seconds, not 9"),
        ({"provider": "kling"}, 9, "video_seconds_unsupported", "turbo generates clips of 4"),
        ({"provider": "higgsfield"}, 4, "video_provider_missing", "no video model of higgsfield"),
        ({"provider": "kling", "model": "x"}, 4, "video_provider_missing", "no video model of kling x"),
        ({"model": "silent", "sound": True}, 4, "video_sound_unsupported", "The clips of silent never have sound"),
        ({"model": "turbo", "sound": False}, 4, "video_sound_unsupported", "The clips of turbo always have sound"),
    ],
)
def test_no_offer(choice: dict[str, Any] | None, seconds: int, code: str, words: str) -> None:
    """The reason is that of the first model that the project permits."""
    with pytest.raises(ProfileError, match=words) as caught:
        MODELS.offer(seconds, "720x1280", VideoChoice(**choice) if choice else None)

    assert caught.value.code == code


def test_the_first_choice_that_has_an_offer_counts() -> None:
    """A run keeps its model; when that is gone, the choice of its project counts."""
    gone, project = VideoChoice(provider="higgsfield", model="x"), VideoChoice(provider="replicate")

    assert MODELS.offer(4, "720x1280", VideoChoice(model="native"), project).model == "native"
    assert MODELS.offer(4, "720x1280", gone, project).model == "silent"
    assert MODELS.offer(4, "720x1280", gone, None).model == "turbo"
