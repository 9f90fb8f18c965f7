"""Clips of HDR and of BT.2020 have the colours of the original in a film."""

from __future__ import annotations

import pytest

from providers.media.clip_intake import ingest_clip
from tests.media.colour_patches import read_colour, write_patch

SIZE = {"width": 64, "height": 112}
COLOURS = [(192, 64, 32), (32, 64, 192), (64, 192, 64), (235, 200, 60), (250, 250, 250), (20, 20, 20)]


@pytest.mark.parametrize("kind", ["SDR", "PQ", "HLG"])
@pytest.mark.parametrize("rgb", COLOURS, ids=str)
def test_the_colours_of_bt2020_are_converted(rgb, kind, tmp_path):
    """Every channel is within 30 of 255 of the colour that was encoded; HDR is a warning."""
    path = write_patch(tmp_path / "delivered.mp4", rgb, kind)

    facts = ingest_clip(path, tmp_path / "clip.mp4", seconds=1, **SIZE)

    assert read_colour(tmp_path / "clip.mp4") == pytest.approx(rgb, abs=30)
    assert facts["how"] == "re-encoded"
    assert [kind in warning for warning in facts["warnings"] if "HDR" in warning] == [True] * (kind != "SDR")


@pytest.mark.parametrize("tags", [{"codec": "libx264"}, {"tag_matrix": 2}], ids=["8 bit H.264", "without a matrix"])
def test_other_files_of_bt2020_are_converted(tags, tmp_path):
    """The tags decide, not the codec; without a matrix it is that of the primaries."""
    path = write_patch(tmp_path / "delivered.mp4", (192, 64, 32), "SDR", **tags)

    ingest_clip(path, tmp_path / "clip.mp4", seconds=1, **SIZE)

    assert read_colour(tmp_path / "clip.mp4") == pytest.approx((192, 64, 32), abs=30)
