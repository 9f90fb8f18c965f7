"""What can be used of a paid clip is used, with a warning that the reviewer sees."""

from __future__ import annotations

import av
import numpy as np
import pytest

from providers.base import Unusable
from providers.media.clip_intake import ingest_clip

SIZE = {"width": 180, "height": 320}


@pytest.mark.parametrize(
    ("delivered", "used", "warning"),
    [
        (2.0, 1.0, "lasts 2.00 s instead of 1 s, and was cut"),
        (1.3, 1.0, "lasts 1.30 s instead of 1 s, and was cut"),
        (3.5, 1.0, "lasts 3.50 s instead of 1 s, and was cut"),
        (0.8, 0.8, "lasts 0.80 s instead of 1 s, so the film is shorter"),
        (0.7, 0.7, "lasts 0.70 s instead of 1 s, so the film is shorter"),
        (0.5, 0.5, "lasts 0.50 s instead of 1 s, so the film is shorter"),
    ],
)
def test_a_clip_of_another_length_is_used_with_a_warning(delivered, used, warning, clip, tmp_path):
    """A longer clip is cut; a shorter one is kept as it is, and makes the film shorter."""
    facts = ingest_clip(clip(seconds=delivered), tmp_path / "clip.mp4", seconds=1, **SIZE)

    assert facts["seconds"] == pytest.approx(used, abs=0.02)
    assert [warning in each for each in facts["warnings"]] == [True]
    assert facts["how"] == ("kept" if delivered < 1 else "re-encoded")


@pytest.mark.parametrize("seconds", [0.43, 0.3, 0.1])
def test_a_clip_of_less_than_half_the_length_is_refused(seconds, clip, tmp_path):
    """The message has both lengths."""
    with pytest.raises(Unusable, match=rf"lasts {seconds:.2f} s instead of 1 s; at least half") as raised:
        ingest_clip(clip(seconds=seconds), tmp_path / "clip.mp4", seconds=1, **SIZE)

    assert raised.value.code == "clip_wrong_length"


@pytest.mark.parametrize(
    ("properties", "percent"),
    [
        ({"width": 320, "height": 180}, 68),
        ({"width": 240, "height": 240}, 44),
        ({"width": 160, "height": 320}, 11),
        ({"width": 320, "height": 180, "rotation": 90}, None),
        ({"width": 184, "height": 320}, None),
        ({"width": 360, "height": 640}, None),
    ],
    ids=str,
)
def test_a_crop_of_more_than_5_percent_is_a_warning(properties, percent, clip, tmp_path):
    """The picture is measured as it is displayed."""
    facts = ingest_clip(clip(**properties), tmp_path / "clip.mp4", seconds=1, **SIZE)

    assert [each for each in facts["warnings"] if "cropped" in each] == (
        [f"{percent}% of its picture was cropped to the shape of 180x320."] if percent else []
    )


@pytest.mark.parametrize(
    "properties",
    [{}, {"fps": 25}, {"width": 320, "height": 180}, {"luma": 60}],
    ids=["30 fps", "25", "landscape", "dark"],
)
def test_an_interlaced_clip_is_deinterlaced(properties, clip, tmp_path):
    """Two lines of one frame show the same moment: the bar has no comb."""
    path = clip(is_interlaced=True, **properties)

    facts = ingest_clip(path, tmp_path / "clip.mp4", seconds=1, **SIZE)

    assert facts["how"] == "re-encoded"
    assert comb(tmp_path / "clip.mp4") < 0.35
    assert "width" in properties or comb(path) > 1


def comb(path):
    """Return how much more neighbouring lines differ than lines of the same field, on average."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray()[: frame.height].astype(float) for frame in container.decode(video=0)][3:-3]
    near = np.mean([np.abs(luma[60:-40] - luma[61:-39]).mean() for luma in frames])
    same_field = np.mean([np.abs(luma[60:-40] - luma[62:-38]).mean() for luma in frames])
    return (near - same_field) / same_field
