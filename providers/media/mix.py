"""Mix music and narration with the sound of the clips, before the film is mastered."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from providers.media.loudness import SAMPLE_RATE, SILENCE_LUFS, AudioSamples, measure_loudness
from providers.media.sound_intake import read_sound
from providers.renders.manifest import Manifest

#: How much quieter than the clips the music is, in LU.
MUSIC_BELOW_LU = 16.0
MUSIC_FADE_IN_SECONDS, MUSIC_FADE_OUT_SECONDS = 1.0, 2.0
#: How long the end of the music crossfades into its start where it repeats.
LOOP_FADE_SECONDS = 0.5


def add_sounds(film: AudioSamples, manifest: Manifest, sounds: Mapping[str, Path]) -> AudioSamples:
    """Return the sound of the clips with the music of the manifest. `sounds` are the files by digest."""
    if manifest.music:
        music = read_sound(sounds[manifest.music.digest], film.shape[1] / SAMPLE_RATE)
        film = film + _fit_music(music, film)
    return film


def _fit_music(music: AudioSamples, film: AudioSamples) -> AudioSamples:
    """Return the music at its level under the film, repeated or cut to its length, with a fade at both ends."""
    length, fade = film.shape[1], min(round(LOOP_FADE_SECONDS * SAMPLE_RATE), music.shape[1] // 2)
    fitted, start = np.zeros_like(film), 0
    while start < length:
        part = music.copy()
        part[:, :fade] *= _rise(fade) if start else 1
        if start + music.shape[1] < length:
            part[:, -fade:] *= _rise(fade)[::-1]
        section = fitted[:, start : start + part.shape[1]]
        section += part[:, : section.shape[1]]
        start += music.shape[1] - fade
    _fade(fitted, MUSIC_FADE_IN_SECONDS)
    _fade(fitted[:, ::-1], MUSIC_FADE_OUT_SECONDS)
    return _level(fitted, film, -MUSIC_BELOW_LU)


def _fade(audio: AudioSamples, seconds: float) -> None:
    """Fade the audio in from silence, in place."""
    samples = min(round(seconds * SAMPLE_RATE), audio.shape[1])
    audio[:, :samples] *= _rise(samples)


def _rise(samples: int) -> NDArray[np.float32]:
    """Return gains from 0 to 1, of which two that cross have equal power."""
    return np.sin(np.linspace(0, math.pi / 2, samples, dtype=np.float32))


def _level(audio: AudioSamples, reference: AudioSamples, above_lu: float) -> AudioSamples:
    """Return the audio so much louder than the reference; as it is if one of them is silent: one is heard alone."""
    lufs, reference_lufs = measure_loudness(audio), measure_loudness(reference)
    if min(lufs, reference_lufs) <= SILENCE_LUFS:
        return audio
    return (audio * np.float32(10 ** ((reference_lufs + above_lu - lufs) / 20))).astype(np.float32)
