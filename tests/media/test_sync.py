"""Sound and picture of a film are where the time stamps and edit lists of its clips put them."""

from __future__ import annotations

import struct

import pytest

from providers.media.clip_intake import ingest_clip
from providers.media.film import render_film
from providers.renders.manifest import Manifest, ManifestClip
from tests.media.marked_clips import MARKS, MarkedClip, find_flashes, find_tones, write_marked_clip

SIZE = {"width": 180, "height": 320}

COPIED = {
    "exactly right": MarkedClip(),
    "exactly right with B-frames": MarkedClip(b_frames=2),
}
CODED = {
    "a gap of 1 s in the sound": MarkedClip(gaps=((1.5, 2.5),)),
    "three gaps of 100 ms": MarkedClip(gaps=((0.4, 0.5), (1.5, 1.6), (2.4, 2.5))),
    "a gap, untagged": MarkedClip(gaps=((1.5, 2.5),), is_tagged=False),
    "a gap of 0.5 s at 24 fps": MarkedClip(gaps=((1.5, 2.0),), fps=24),
    "sound 0.4 s late": MarkedClip(sound_from=0.4),
    "sound 0.4 s late, untagged": MarkedClip(sound_from=0.4, is_tagged=False),
    "picture 0.2 s late": MarkedClip(picture_from=0.2),
    "picture 0.2 s late, untagged, with B-frames": MarkedClip(picture_from=0.2, is_tagged=False, b_frames=2),
    "untagged": MarkedClip(is_tagged=False),
    "index last": MarkedClip(movflags=""),
    "a timecode track": MarkedClip(timecode="00:00:00:00", is_tagged=False),
    "a last picture of 0.8 s": MarkedClip(picture_until=3.2),
    "a last picture of 0.8 s with B-frames": MarkedClip(picture_until=3.2, b_frames=2),
    "a last picture of 0.5 s at 24 fps": MarkedClip(picture_until=3.5, fps=24),
}


@pytest.mark.parametrize("case", [*COPIED, *CODED])
@pytest.mark.slow
def test_sound_and_picture_of_a_film_are_in_time(case, tmp_path):
    """A flash and a tone at 1.0 and 3.0 s of a clip are there in the film; exact clips are copied, others coded."""
    delivered = write_marked_clip(tmp_path / "delivered.mp4", {**COPIED, **CODED}[case])
    clip, film = tmp_path / "clip.mp4", tmp_path / "film.mp4"

    facts = ingest_clip(delivered, clip, seconds=4, **SIZE)
    used = delivered if facts["how"] == "kept" else clip
    manifest = Manifest(**SIZE, clips=[ManifestClip(digest="0" * 64, seconds=4.0)])
    render_film(manifest, [used], film)

    assert (facts["how"], facts["seconds"]) == ("kept" if case in COPIED else "re-encoded", 4.0)
    assert find_flashes(film) == pytest.approx(MARKS, abs=0.045)
    assert find_tones(film) == pytest.approx(MARKS, abs=0.045)


@pytest.mark.parametrize("case", CODED)
def test_a_coded_clip_is_itself_in_time(case, tmp_path):
    """The coded file is exact, so every renderer and player displays it alike: it would be copied."""
    delivered = write_marked_clip(tmp_path / "delivered.mp4", CODED[case])
    clip = tmp_path / "clip.mp4"

    ingest_clip(delivered, clip, seconds=4, **SIZE)

    assert find_flashes(clip) == pytest.approx(MARKS, abs=0.045)
    assert find_tones(clip) == pytest.approx(MARKS, abs=0.045)
    assert ingest_clip(clip, tmp_path / "never", seconds=4, **SIZE)["how"] == "kept"


@pytest.mark.parametrize(
    ("picture_until", "properties"),
    [(2.0, {}), (3.5, {}), (1.5, {"b_frames": 2}), (1.2, {"fps": 24}), (3.9, {"is_tagged": False})],
    ids=str,
)
def test_a_last_picture_that_is_held_is_as_long_as_the_track_says(picture_until, properties, tmp_path):
    """The clip has the length that was ordered, and the film has its sound to the end."""
    delivered = write_marked_clip(tmp_path / "delivered.mp4", MarkedClip(picture_until=picture_until, **properties))
    clip = tmp_path / "clip.mp4"

    facts = ingest_clip(delivered, clip, seconds=4, **SIZE)

    assert (facts["seconds"], [warning for warning in facts["warnings"] if "lasts" in warning]) == (4.0, [])
    assert find_flashes(clip) == pytest.approx([mark for mark in MARKS if mark < picture_until], abs=0.045)
    assert find_tones(clip) == pytest.approx(MARKS, abs=0.045)


def test_an_edit_list_that_starts_later_in_the_picture_is_applied(tmp_path):
    """The first 0.2 s of the picture are not displayed: the flashes are earlier in the film, the tones are not."""
    delivered = write_marked_clip(tmp_path / "delivered.mp4", MarkedClip())
    content = bytearray(delivered.read_bytes())
    # The entry has the duration in milliseconds and the start in ticks of 1/15360 s.
    struct.pack_into(">II", content, content.index(b"elst") + 12, 3800, 3072)
    delivered.write_bytes(content)

    facts = ingest_clip(delivered, tmp_path / "clip.mp4", seconds=4, **SIZE)
    manifest = Manifest(**SIZE, clips=[ManifestClip(digest="0" * 64, seconds=facts["seconds"])])
    render_film(manifest, [tmp_path / "clip.mp4"], tmp_path / "film.mp4")

    assert facts["how"] == "re-encoded"
    assert find_flashes(tmp_path / "film.mp4") == pytest.approx([0.8, 2.8], abs=0.045)
    assert find_tones(tmp_path / "film.mp4") == pytest.approx(MARKS, abs=0.045)
