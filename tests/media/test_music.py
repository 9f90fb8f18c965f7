"""Uploaded sounds are checked, and mixed under the sound of the clips."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from providers.base import Json, Unusable
from providers.media import film
from providers.media.audio import SAMPLE_RATE, decode_audio, measure_loudness
from providers.media.audio_intake import MAX_SECONDS, read_sound, write_sound
from providers.media.conformance import FilmSpec, check_film
from providers.media.intake import accept_sound
from providers.media.mix import add_sounds
from providers.renders.manifest import Manifest, ManifestClip
from tests.media.tones import CLIP_HZ, MUSIC_HZ, level, tone

MUSIC = {"digest": "a" * 64, "licence": "CC BY 4.0, Artist"}


def encode(path: Path, audio: np.ndarray, form: str, codec: str) -> Path:
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, SAMPLE_RATE, layout="stereo")
        size = 1024
        for start in range(0, audio.shape[1], size):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(audio[:, start : start + size]), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def manifest_with(music: Json | None, *seconds: float) -> Manifest:
    clips = [ManifestClip(digest="0" * 64, seconds=length) for length in seconds]
    return Manifest.model_validate({"width": 360, "height": 640, "clips": clips, "music": music})


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("mp3", "libmp3lame"),
        ("ipod", "aac"),
        ("adts", "aac"),
        ("ogg", "libopus"),
        ("flac", "flac"),
        ("aiff", "pcm_s16be"),
    ],
)
@pytest.mark.slow
async def test_common_audio_files_are_accepted(form, codec, tmp_path):
    """The stored sound is FLAC with the length and the level of the file."""
    source = encode(tmp_path / "upload", tone(440, 2), form, codec)

    stored, facts = await accept_sound(source, into=tmp_path)

    audio = read_sound(stored)
    assert stored.read_bytes()[:4] == b"fLaC"
    assert facts["seconds"] == pytest.approx(2, abs=0.1)
    assert level(audio, 440, 0.5, 1.5) == pytest.approx(level(tone(440, 2), 440, 0.5, 1.5), abs=0.5)


async def refusal_of(path: Path) -> tuple[str, str]:
    with pytest.raises(Unusable) as refused:
        await accept_sound(path, into=path.parent)
    return refused.value.code, refused.value.message


@pytest.mark.slow
async def test_unsuitable_files_are_refused_in_words(clip, tmp_path):
    """Noise, half a file, a clip without sound, a click and more than ten minutes each get one sentence."""
    (tmp_path / "noise").write_bytes(b"ID3" + bytes(range(256)) * 40)
    write_sound(tmp_path / "click", tone(440, 0.1))
    write_sound(tmp_path / "long", np.zeros((2, (MAX_SECONDS + 1) * SAMPLE_RATE), np.float32))
    (tmp_path / "text").write_text("hello")
    mute = tmp_path / "mute"
    mute.write_bytes(clip(seconds=1.0, channel_layout=None).read_bytes())

    refused = {name: await refusal_of(tmp_path / name) for name in ("noise", "text", "mute", "click", "long")}

    assert {name: code for name, (code, _) in refused.items()} == {
        "noise": "audio_invalid",
        "text": "audio_invalid",
        "mute": "audio_invalid",
        "click": "audio_too_short",
        "long": "audio_too_long",
    }
    assert refused["long"][1] == "The audio is longer than 600 seconds."
    assert refused["mute"][1] == "The file has no audio."


def test_music_is_quieter_repeats_and_fades(tmp_path):
    """It is 16 LU below the clips from the first to the last second, although it is shorter, and fades at both ends."""
    write_sound(tmp_path / "music", tone(MUSIC_HZ, 3.2))
    clips = tone(CLIP_HZ, 12, 0.02)

    mixed = add_sounds(clips, manifest_with(MUSIC, 12), {MUSIC["digest"]: tmp_path / "music"})

    music = mixed - clips
    assert mixed.shape == clips.shape
    assert measure_loudness(clips) - measure_loudness(music) == pytest.approx(16, abs=0.2)
    seconds = [level(music, MUSIC_HZ, at, at + 0.25) for at in np.arange(1, 9.75, 0.25)]
    assert max(seconds) - min(seconds) < 3.5  # where it repeats, it crossfades
    assert level(music, MUSIC_HZ, 0, 0.05) < np.median(seconds) - 20
    assert level(music, MUSIC_HZ, 11.95, 12) < np.median(seconds) - 20
    assert level(music, MUSIC_HZ, 0, 0.05) < level(music, MUSIC_HZ, 0.3, 0.4) < level(music, MUSIC_HZ, 0.8, 0.9)


@pytest.mark.parametrize("has_sound", [True, False], ids=["clips with sound", "silent clips"])
@pytest.mark.slow
def test_a_film_with_music_keeps_the_delivery_rules(has_sound, clip, tmp_path):
    """The loudness and the true peak of the film are those of a film without music, and both sounds are in it."""
    write_sound(tmp_path / "music", tone(MUSIC_HZ, 2, 0.9))
    silent = {} if has_sound else {"channel_layout": None}
    clips = [clip(seconds=3.0, sound=lambda times: 0.1 * np.sin(2 * np.pi * CLIP_HZ * times), **silent)]
    manifest = manifest_with(MUSIC, 3)

    film.render_film(manifest, clips, tmp_path / "film.mp4", sounds={MUSIC["digest"]: tmp_path / "music"})

    results = {each.rule: each for each in check_film(tmp_path / "film.mp4", FilmSpec(3, 360, 640))}
    assert (results["loudness"].ok, results["true_peak"].ok) == (True, True), results
    assert results["loudness"].observed != "silent"
    audio = decode_audio(tmp_path / "film.mp4", 3)
    music, clips_level = level(audio, MUSIC_HZ, 1, 1.5), level(audio, CLIP_HZ, 1, 1.5)
    assert clips_level - music == pytest.approx(16, abs=4) if has_sound else music > -30


def test_a_manifest_without_music_is_that_of_earlier_versions():
    """The request of a render does not change, and stored ones can be read."""
    plain = manifest_with(None, 3).model_dump()

    assert "music" not in plain
    assert Manifest.model_validate(plain).sounds == []
    assert manifest_with(MUSIC, 3).model_dump()["music"] == MUSIC
