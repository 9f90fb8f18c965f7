"""A film is rendered from clips and checked against the delivery rules."""

from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
import pytest

from providers.base import Refused
from providers.media import film
from providers.media.audio import decode_audio
from providers.media.conformance import FilmSpec, check_film, failed_errors
from providers.media.mix import mix_clips
from providers.media.overlay import draw_overlay
from providers.media.video_frames import view_planes
from providers.renders.manifest import Manifest, ManifestClip, build_timeline

SIZE = {"width": 360, "height": 640}


def build_manifest(*seconds: float, overlay: str = "", **properties) -> Manifest:
    clips = [ManifestClip(digest="0" * 64, seconds=length, overlay=overlay) for length in seconds]
    return Manifest(**{**SIZE, **properties}, clips=clips)


def read_luma(path):
    """Return the luma plane of every frame."""
    with av.open(str(path)) as container:
        return [view_planes(frame)[0].copy() for frame in container.decode(video=0)]


@pytest.mark.slow
def test_a_film_conforms_and_has_the_length_of_its_manifest(clip, tmp_path):
    """Three clips with two crossfades pass every rule, and the metadata declares the film AI-generated."""
    manifest = build_manifest(1.5, 1.5, 1.5, overlay="Read me")
    clips = [clip(luma=luma, seconds=1.5) for luma in (60, 120, 170)]

    film.render_film(manifest, clips, tmp_path / "film.mp4")

    results = check_film(tmp_path / "film.mp4", FilmSpec(3.5, **SIZE))
    assert [result for result in results if not result.ok and result.rule != "bitrate"] == []
    assert len(read_luma(tmp_path / "film.mp4")) == 105
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert "AI-generated" in container.metadata["comment"]


@pytest.mark.parametrize("amplitude", [0.003, 1.0], ids=["very quiet", "very loud"])
@pytest.mark.slow
def test_a_film_has_the_target_loudness(amplitude, clip, tmp_path):
    """The film has -14 LUFS within 1 LU and no peak above -1 dBTP, independent of the clips' loudness."""
    film.render_film(build_manifest(3), [clip(seconds=3.0, amplitude=amplitude)], tmp_path / "film.mp4")

    results = {result.rule: result for result in check_film(tmp_path / "film.mp4", FilmSpec(3, **SIZE))}
    assert (results["loudness"].ok, results["true_peak"].ok) == (True, True), results
    assert results["loudness"].observed != "silent"


def test_a_silent_film_is_allowed(clip, tmp_path):
    """Clips without audio result in a film with silent audio."""
    film.render_film(build_manifest(3), [clip(seconds=3.0, channel_layout=None)], tmp_path / "film.mp4")

    results = check_film(tmp_path / "film.mp4", FilmSpec(3, **SIZE))
    assert failed_errors(results) == []
    assert "silent" in [result.observed for result in results]


@pytest.mark.parametrize("seconds", [2.8, 3.4], ids=["shorter", "longer"])
@pytest.mark.slow
def test_a_clip_of_another_length_does_not_change_the_films_length(seconds, clip, tmp_path):
    """The last frame of a short clip is repeated; a long clip is cut."""
    film.render_film(build_manifest(3), [clip(seconds=seconds)], tmp_path / "film.mp4")

    frames = read_luma(tmp_path / "film.mp4")
    assert len(frames) == 90
    is_frozen = np.abs(frames[-1].astype(int) - frames[-3]).mean() < 0.5
    assert is_frozen == (seconds < 3)


def test_a_crossfade_blends_one_clip_into_the_next(clip, tmp_path):
    """The blend is monotonic, with half of each clip in the middle."""
    flat = {"is_moving": False, "seconds": 2.0}
    film.render_film(build_manifest(2, 2), [clip(luma=50, **flat), clip(luma=200, **flat)], tmp_path / "film.mp4")

    means = [luma.mean() for luma in read_luma(tmp_path / "film.mp4")]
    assert means[:44] == pytest.approx([50] * 44, abs=2)
    assert means[52] == pytest.approx(125, abs=6)
    assert means[61:] == pytest.approx([200] * 44, abs=2)
    assert np.all(np.diff(means[44:61]) > 0)


def test_audio_crossfades_have_equal_power(clip):
    """The power of both clips' audio adds up to a constant during a crossfade."""
    manifest = build_manifest(2, 2, crossfade_seconds=1.0)
    clips = [clip(seconds=2.0), clip(seconds=2.0, channel_layout=None)]

    mix = mix_clips(manifest, clips)

    rms = [float(np.sqrt((mix[:, at - 800 : at + 800] ** 2).mean())) for at in (40_000, 72_000, 110_000)]
    assert rms == pytest.approx([0.0707, 0.05, 0.0], abs=0.003)


def test_audio_that_starts_before_the_video_is_cut(clip):
    """A fifth of a second of audio before the first frame is not part of the film."""
    audio = decode_audio(clip(frame_times=tuple(range(6, 36)), seconds=1.2), 1.0)

    rms = [float(np.sqrt((part**2).mean())) for part in np.split(audio, 4, axis=1)]
    assert rms == pytest.approx([0.0707] * 4, abs=0.003)


def test_a_caption_is_visible_on_its_clip_and_hidden_in_the_middle_of_a_crossfade(clip, tmp_path):
    """Two captions are never visible at once, and each is fully visible between the crossfades."""
    flat = clip(luma=100, is_moving=False, seconds=2.0)
    film.render_film(build_manifest(2, 2, overlay="Read me"), [flat, flat], tmp_path / "film.mp4")

    caption = draw_overlay("Read me", **SIZE)
    rows, columns = caption.alpha.shape
    frames = read_luma(tmp_path / "film.mp4")
    areas = [luma[caption.top : caption.top + rows, caption.left : caption.left + columns] for luma in frames]
    visible = [bool((area > 200).any()) for area in areas]
    assert (visible[0], visible[30], visible[52], visible[80], visible[104]) == (True, True, False, True, True)


def test_rendering_is_deterministic(clip, tmp_path):
    """The same manifest and clips give the same bytes, so a film rendered again is the approved film."""
    manifest = build_manifest(1.75, 1.75, overlay="Again")
    for name in ("one", "two"):
        film.render_film(manifest, [clip(seconds=2.0), clip(seconds=2.0, luma=60)], tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_rounding_errors_do_not_add_up():
    """Twelve clips of a fractional length end on the frame of the manifest's length."""
    manifest = build_manifest(*[1.516] * 12)

    spans = build_timeline(manifest)

    assert abs(spans[-1].end_frame - manifest.seconds * manifest.fps) <= 0.5
    assert all(left.end_frame - right.first_frame == left.fade_out_frames for left, right in pairwise(spans))


@pytest.mark.parametrize(
    "manifest",
    [build_manifest(1.0), build_manifest(60, 60, 60, 60), build_manifest(2, 0.8, 2), build_manifest(4, width=361)],
    ids=["too short", "too long", "a clip shorter than its crossfades", "an odd width"],
)
def test_an_invalid_manifest_is_rejected(manifest):
    """It is rejected before rendering."""
    with pytest.raises(Refused):
        build_timeline(manifest)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("frame_size", {"width": 1080, "height": 1920}),
        ("length_as_asked", {"seconds": 2.5}),
        ("frame_rate", {"fps": 25}),
        ("loudness", {"lufs": -20.0}),
    ],
)
@pytest.mark.slow
def test_a_film_that_differs_from_the_expectation_does_not_conform(rule, expected, clip, tmp_path):
    """Each deviation is an error of a specific rule."""
    film.render_film(build_manifest(3), [clip(seconds=3.0)], tmp_path / "film.mp4")

    results = check_film(tmp_path / "film.mp4", FilmSpec(**{"seconds": 3, **SIZE, **expected}))

    assert rule in {result.rule for result in failed_errors(results)}


def test_an_unreadable_file_does_not_conform(tmp_path):
    """An unreadable file is a failed rule, not an exception."""
    (tmp_path / "film.mp4").write_bytes(b"<html>")

    assert [result.rule for result in failed_errors(check_film(tmp_path / "film.mp4", FilmSpec(3)))] == ["readable"]


def test_a_film_that_would_be_too_large_is_encoded_with_a_higher_crf(clip, tmp_path, monkeypatch):
    """The size limit is kept, and the film is complete."""
    monkeypatch.setattr(film, "MAX_BITRATE", 500_000)

    film.render_film(build_manifest(3), [clip(seconds=3.0)], tmp_path / "film.mp4")

    results = check_film(tmp_path / "film.mp4", FilmSpec(3, **SIZE))
    assert failed_errors(results) == []
    assert (tmp_path / "film.mp4").stat().st_size < (500_000 + 192_000) / 8 * 3 * 1.2


def hum(hertz: float, level: float = 0.5):
    return lambda at: level * np.sin(2 * np.pi * hertz * at)


#: Sounds of a clip, and whether they cannot be as loud as a film; None where the encoder of the clip decides that.
SOUNDS = {
    "a constant offset": (lambda at: 0.5 + 0 * at, None),
    "a 3 Hz hum": (hum(3), None),
    "an offset with a click": (lambda at: 0.4 + 0.5 * ((at >= 2) & (at < 2.001)), True),
    "an offset with a voice": (lambda at: 0.4 + hum(440, 0.05)(at), False),
    "one click": (lambda at: 0.9 * ((at >= 2) & (at < 2.001)), True),
    "a tap per second": (lambda at: hum(3000)(at) * (at % 1 < 0.002), True),
    "a soft tap per second": (lambda at: hum(800, 0.02)(at) * (at % 1 < 0.003), True),
    "a 20 Hz hum": (hum(20), None),
    "a 12 Hz hum": (hum(12), None),
    "a 25 Hz hum": (hum(25, 0.9), None),
}


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.slow
def test_a_clip_of_any_sound_becomes_a_film(name, clip, tmp_path):
    """No sound ends the run: a loudness that cannot be reached is a notice for the reviewer."""
    sound, is_too_quiet = SOUNDS[name]
    size = {"width": 64, "height": 112}
    manifest = build_manifest(3, **size)

    lufs = film.render_film(manifest, [clip(seconds=3.0, sound=sound, **size)], tmp_path / "film.mp4")
    report = film.check_render(manifest, tmp_path / "film.mp4", lufs, "")

    assert report["errors"] == []
    assert is_too_quiet is None or bool(report["facts"]["notices"]) == is_too_quiet
