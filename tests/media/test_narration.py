"""Narrations are spoken over their clips, one after the other, and the other sounds are quieter under them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from providers.media import film
from providers.media.audio import SAMPLE_RATE, decode_audio
from providers.media.audio_intake import write_sound
from providers.media.conformance import FilmSpec, check_film
from providers.media.mix import add_sounds, describe_overrun, time_narrations
from providers.renders.manifest import Manifest
from tests.media.tones import CLIP_HZ, MUSIC_HZ, level, tone

VOICE_HZ = 900


def narrated(folder: Path, *narrations: float, music: bool = False) -> tuple[Manifest, dict[str, Path]]:
    """Return a film of clips of 4 s, with narrations of these lengths, 0 for none, and the files of its sounds."""
    sounds = {}
    clips = []
    for number, seconds in enumerate(narrations, start=1):
        clip = {"digest": "0" * 64, "seconds": 4}
        if seconds:
            digest = f"{number:064x}"
            sounds[digest] = folder / str(number)
            write_sound(sounds[digest], tone(VOICE_HZ, seconds, 0.3))
            clip["narration"] = {"digest": digest, "text": f"Words {number}."}
        clips.append(clip)
    fields = {"width": 360, "height": 640, "crossfade_seconds": 0, "clips": clips}
    if music:
        sounds["a" * 64] = folder / "music"
        write_sound(sounds["a" * 64], tone(MUSIC_HZ, 12))
        fields["music"] = {"digest": "a" * 64, "licence": "CC0"}
    return Manifest.model_validate(fields), sounds


def spans(audio: np.ndarray) -> list[tuple[float, float]]:
    """Return the times in seconds at which the voice is heard."""
    levels = [level(audio, VOICE_HZ, at, at + 0.05) > -40 for at in np.arange(0, audio.shape[1] / SAMPLE_RATE, 0.05)]
    edges = np.flatnonzero(np.diff([False, *levels, False])) * 0.05
    return [(round(float(start), 2), round(float(end), 2)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def test_a_narration_starts_after_its_clip_and_after_the_one_before(tmp_path):
    """One that is longer than its clip runs into the next, whose own waits; the one after that is in time again."""
    manifest, sounds = narrated(tmp_path, 5, 1, 1.5)

    mixed = add_sounds(tone(CLIP_HZ, 12), manifest, sounds)

    expected = [(0.3, 5.3), (5.45, 6.45), (8.3, 9.8)]
    assert [pytest.approx(each, abs=0.06) for each in expected] == spans(mixed)
    assert describe_overrun(manifest, time_narrations(manifest, sounds)) == []


@pytest.mark.parametrize("hertz", [CLIP_HZ, MUSIC_HZ], ids=["clips", "music"])
@pytest.mark.slow
def test_other_sounds_are_ducked_by_12_db_with_ramps(hertz, tmp_path):
    """The level is full before and after, 12 dB lower under the words, and in between 75 ms from their ends."""
    manifest, sounds = narrated(tmp_path, 0, 2, 0, music=True)

    mixed = add_sounds(tone(CLIP_HZ, 12), manifest, sounds)

    full = level(mixed, hertz, 3.5, 4)
    assert level(mixed, hertz, 4.5, 6) - full == pytest.approx(-12, abs=0.3)
    assert level(mixed, hertz, 7, 7.5) - full == pytest.approx(0, abs=0.3)
    for ramp in (4.3 - 0.075, 6.3 + 0.075):
        assert level(mixed, hertz, ramp - 0.02, ramp + 0.02) - full == pytest.approx(-6, abs=2)


def test_words_that_do_not_fit_fade_with_a_notice(tmp_path):
    """The reviewer reads by how much, and the end of the film is silent."""
    manifest, sounds = narrated(tmp_path, 0, 6)

    mixed = add_sounds(tone(CLIP_HZ, 8), manifest, sounds)

    cut = "The narration is 2.3 s too long for the film, which cuts its last words."
    assert describe_overrun(manifest, time_narrations(manifest, sounds)) == [cut]
    assert level(mixed, VOICE_HZ, 7.97, 8) < level(mixed, VOICE_HZ, 7, 7.5) - 15


@pytest.mark.slow
def test_a_narrated_film_keeps_the_delivery_rules(clip, tmp_path):
    """Loudness and true peak are those of every film, and the words are louder than the rest."""
    manifest, sounds = narrated(tmp_path, 2, music=True)
    clips = [clip(seconds=4.0, sound=lambda times: 0.1 * np.sin(2 * np.pi * CLIP_HZ * times))]

    film.render_film(manifest, clips, tmp_path / "film.mp4", sounds=sounds)

    results = {each.rule: each for each in check_film(tmp_path / "film.mp4", FilmSpec(4, 360, 640))}
    assert (results["loudness"].ok, results["true_peak"].ok) == (True, True), results
    audio = decode_audio(tmp_path / "film.mp4", 4)
    assert level(audio, VOICE_HZ, 1, 2) > level(audio, CLIP_HZ, 1, 2) + 8


def test_a_clip_without_narration_is_that_of_earlier_versions(tmp_path):
    """The request of the render does not change."""
    manifest, sounds = narrated(tmp_path, 0, 1)
    plain, narrated_clip = manifest.model_dump()["clips"]

    assert "narration" not in plain
    assert narrated_clip["narration"] == {"digest": f"{2:064x}", "text": "Words 2."}
    assert manifest.sounds == list(sounds)
