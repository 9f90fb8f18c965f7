"""Clips become one film."""

from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
import pytest

from providers.media import film, picture
from providers.media.conform import errors, final_video_conforms
from providers.media.overlay import layer
from providers.media.timeline import BadManifest, timeline
from providers.renders.manifest import Manifest, ManifestClip

SIZE = {"width": 360, "height": 640}


def manifest(*seconds: float, overlay: str = "", **wanted) -> Manifest:
    clips = [ManifestClip(digest="0" * 64, seconds=length, overlay=overlay) for length in seconds]
    return Manifest(**{**SIZE, **wanted}, clips=clips)


def lumas(path):
    """The luma of every picture."""
    with av.open(str(path)) as container:
        return [picture.planes(frame)[0].copy() for frame in container.decode(video=0)]


def test_a_film_conforms_and_is_as_long_as_its_manifest(clip, tmp_path):
    """Three clips, two crossfades: every rule is kept, warnings too, and it tells that it is AI-generated."""
    asked = manifest(1.5, 1.5, 1.5, overlay="Read me")
    clips = [clip(luma=luma, seconds=1.5) for luma in (60, 120, 170)]

    film.render(asked, clips, tmp_path / "film.mp4")

    findings = final_video_conforms(tmp_path / "film.mp4", seconds=3.5, **SIZE)
    assert [finding for finding in findings if not finding.ok and finding.rule != "bitrate"] == []
    assert len(lumas(tmp_path / "film.mp4")) == 105
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert "AI-generated" in container.metadata["comment"]


@pytest.mark.parametrize("volume", [0.003, 1.0], ids=["very quiet", "very loud"])
def test_a_film_is_as_loud_as_wanted(volume, clip, tmp_path):
    """-14 LUFS within one and no peak above -1 dBTP, whatever the clips bring."""
    film.render(manifest(3), [clip(seconds=3.0, volume=volume)], tmp_path / "film.mp4")

    heard = {finding.rule: finding for finding in final_video_conforms(tmp_path / "film.mp4", seconds=3, **SIZE)}
    assert (heard["loudness"].ok, heard["true_peak"].ok) == (True, True), heard
    assert heard["loudness"].observed != "silent"


def test_a_silent_film_is_allowed(clip, tmp_path):
    """Clips without sound make a film with a silent one."""
    film.render(manifest(3), [clip(seconds=3.0, layout=None)], tmp_path / "film.mp4")

    findings = final_video_conforms(tmp_path / "film.mp4", seconds=3, **SIZE)
    assert errors(findings) == []
    assert "silent" in [finding.observed for finding in findings]


@pytest.mark.parametrize("has", [2.8, 3.4], ids=["shorter", "longer"])
def test_a_clip_of_another_length_does_not_change_the_film(has, clip, tmp_path):
    """A short clip holds its last picture, a long one is cut."""
    film.render(manifest(3), [clip(seconds=has)], tmp_path / "film.mp4")

    pictures = lumas(tmp_path / "film.mp4")
    assert len(pictures) == 90
    still = np.abs(pictures[-1].astype(int) - pictures[-3]).mean() < 0.5
    assert still == (has < 3)


def test_a_crossfade_goes_from_one_picture_to_the_next(clip, tmp_path):
    """In the middle both are seen by half; the way is even and never back."""
    flat = {"moving": False, "seconds": 2.0}
    film.render(manifest(2, 2), [clip(luma=50, **flat), clip(luma=200, **flat)], tmp_path / "film.mp4")

    means = [luma.mean() for luma in lumas(tmp_path / "film.mp4")]
    assert means[:44] == pytest.approx([50] * 44, abs=2)
    assert means[52] == pytest.approx(125, abs=6)
    assert means[61:] == pytest.approx([200] * 44, abs=2)
    assert np.all(np.diff(means[44:61]) > 0)


def test_sounds_cross_at_even_power(clip):
    """One sound goes as the other comes, and between them nothing is lost."""
    asked = manifest(2, 2, crossfade_seconds=1.0)
    clips = [clip(seconds=2.0), clip(seconds=2.0, layout=None)]

    mix = film._mixed(asked, timeline(asked), clips)

    power = [float(np.sqrt((mix[:, at - 800 : at + 800] ** 2).mean())) for at in (40_000, 72_000, 110_000)]
    assert power == pytest.approx([0.0707, 0.05, 0.0], abs=0.003)


def test_text_is_seen_on_its_clip_and_gone_in_the_middle_of_a_crossfade(clip, tmp_path):
    """No two texts are seen at once, and each is fully there between the crossfades."""
    flat = clip(luma=100, moving=False, seconds=2.0)
    film.render(manifest(2, 2, overlay="Read me"), [flat, flat], tmp_path / "film.mp4")

    text = layer("Read me", **SIZE)
    pictures = [luma[text.top : text.bottom, text.left : text.right] for luma in lumas(tmp_path / "film.mp4")]
    seen = [bool((part > 200).any()) for part in pictures]
    assert (seen[0], seen[30], seen[52], seen[80], seen[104]) == (True, True, False, True, True)


def test_the_same_manifest_makes_the_same_bytes(clip, tmp_path):
    """A film rendered again is the film that was approved."""
    asked = manifest(1.75, 1.75, overlay="Again")
    for name in ("one", "two"):
        film.render(asked, [clip(seconds=2.0), clip(seconds=2.0, luma=60)], tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_rounding_does_not_add_up():
    """Twelve clips of an odd length still end on the frame the manifest means."""
    asked = manifest(*[1.516] * 12)

    cuts = timeline(asked)

    assert abs(cuts[-1].end - asked.seconds * asked.fps) <= 0.5
    assert all(left.end - right.first == left.fade_out for left, right in pairwise(cuts))


@pytest.mark.parametrize(
    "asked",
    [manifest(1.0), manifest(60, 60, 60, 60), manifest(2, 0.8, 2), manifest(4, width=361)],
    ids=["too short", "too long", "a clip shorter than its crossfades", "an odd width"],
)
def test_a_manifest_that_makes_no_film_is_refused(asked):
    """It is said before anything is rendered."""
    with pytest.raises(BadManifest):
        timeline(asked)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("frame_size", {"width": 1080, "height": 1920}),
        ("length_as_asked", {"seconds": 2.5}),
        ("frame_rate", {"fps": 25}),
        ("loudness", {"lufs": -20.0}),
    ],
)
def test_a_film_that_is_not_as_meant_does_not_conform(rule, wanted, clip, tmp_path):
    """Each deviation is an error under its own name."""
    film.render(manifest(3), [clip(seconds=3.0)], tmp_path / "film.mp4")

    findings = final_video_conforms(tmp_path / "film.mp4", **{"seconds": 3, **SIZE, **wanted})

    assert rule in {finding.rule for finding in errors(findings)}


def test_a_file_that_is_no_film_does_not_conform(tmp_path):
    """Rubbish is a finding, not an exception."""
    (tmp_path / "film.mp4").write_bytes(b"<html>")

    assert [finding.rule for finding in errors(final_video_conforms(tmp_path / "film.mp4", seconds=3))] == ["readable"]


def test_a_film_of_noise_is_not_too_large_for_the_platforms(clip, tmp_path, monkeypatch):
    """What would have too many bytes is coded more coarsely, and is whole nevertheless."""
    monkeypatch.setattr(film, "MAX_BIT_RATE", 500_000)

    film.render(manifest(3), [clip(seconds=3.0)], tmp_path / "film.mp4")

    findings = final_video_conforms(tmp_path / "film.mp4", seconds=3, **SIZE)
    assert errors(findings) == []
    assert (tmp_path / "film.mp4").stat().st_size < (500_000 + 192_000) / 8 * 3 * 1.2
