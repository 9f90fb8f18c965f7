"""Mix the sound of the clips with music and narration, before the film is mastered."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from providers.media.audio import SAMPLE_RATE, SILENCE_LUFS, AudioSamples, decode_audible, measure_loudness
from providers.media.audio_intake import read_sound
from providers.media.subtitles import TimedText
from providers.renders.manifest import Manifest, build_timeline

#: The fade at a hard cut, which avoids a click.
MIN_FADE_SECONDS = 0.01
#: How much quieter than the clips the music is, in LU.
MUSIC_BELOW_LU = 16.0
MUSIC_FADE_IN_SECONDS, MUSIC_FADE_OUT_SECONDS = 1.0, 2.0
#: How long the end of the music crossfades into its start where it repeats.
LOOP_FADE_SECONDS = 0.5

#: How long after the start of its clip a narration starts, and the pause after the one before it, if that is longer.
NARRATION_DELAY_SECONDS, NARRATION_PAUSE_SECONDS = 0.3, 0.15
#: How much quieter clips and music are under a narration, in LU, and how long they take to become so.
DUCK_LU, DUCK_RAMP_SECONDS = 12.0, 0.15
#: The fade of a narration that the end of the film cuts.
NARRATION_FADE_OUT_SECONDS = 0.3

#: The samples of each narration, with the position of the first one in the film.
Narrations = Sequence[tuple[int, AudioSamples]]


def mix_clips(manifest: Manifest, clips: Sequence[Path]) -> AudioSamples:
    """Return the audio of all clips, with equal-power crossfades."""
    spans, fps = build_timeline(manifest), manifest.fps
    mix = np.zeros((2, round(spans[-1].end_frame / fps * SAMPLE_RATE)), np.float32)
    for span, clip in zip(spans, clips, strict=True):
        audio = decode_audible(clip, span.frames / fps)
        fade_in(audio, max(span.fade_in_frames / fps, MIN_FADE_SECONDS))
        fade_in(audio[:, ::-1], max(span.fade_out_frames / fps, MIN_FADE_SECONDS))
        _add(mix, audio, round(span.first_frame / fps * SAMPLE_RATE))
    return mix


def add_sounds(film: AudioSamples, manifest: Manifest, sounds: Mapping[str, Path]) -> AudioSamples:
    """Return the sound of the clips with the music and the narrations of the manifest. `sounds` are files by digest."""
    if manifest.music:
        music = read_sound(sounds[manifest.music.digest], film.shape[1] / SAMPLE_RATE)
        film = film + _fit_music(music, film)
    narrations = _place_narrations(manifest, sounds)
    if not narrations:
        return film
    voices = np.zeros_like(film)
    for start, narration in narrations:
        _add(voices, narration, start)
    if start + narration.shape[1] > voices.shape[1]:
        fade_in(voices[:, ::-1], NARRATION_FADE_OUT_SECONDS)
    voices = _level(voices, film, 0)
    return (film * _duck(narrations, film.shape[1]) + voices).astype(np.float32)


def time_narrations(manifest: Manifest, sounds: Mapping[str, Path]) -> list[TimedText]:
    """Return the words of the narrations with their times, also those after the end of the film."""
    words = [clip.narration.text for clip in manifest.clips if clip.narration]
    placed = zip(_place_narrations(manifest, sounds), words, strict=True)
    return [TimedText(at / SAMPLE_RATE, (at + sound.shape[1]) / SAMPLE_RATE, text) for (at, sound), text in placed]


def describe_overrun(manifest: Manifest, narrations: Sequence[TimedText]) -> list[str]:
    """Return a sentence for the reviewer if the spoken words do not fit into the film."""
    film = build_timeline(manifest)[-1].end_frame / manifest.fps
    missing = max((words.end for words in narrations), default=0) - film
    cut = f"The narration is {missing:.1f} s too long for the film, which cuts its last words."
    return [cut] if missing > 0 else []


def _place_narrations(manifest: Manifest, sounds: Mapping[str, Path]) -> Narrations:
    """Return the narrations, each after the start of its clip, and after the end of the one before."""
    placed, free = list[tuple[int, AudioSamples]](), 0
    for clip, span in zip(manifest.clips, build_timeline(manifest), strict=True):
        if clip.narration:
            narration = read_sound(sounds[clip.narration.digest])
            start = max(round((span.first_frame / manifest.fps + NARRATION_DELAY_SECONDS) * SAMPLE_RATE), free)
            placed.append((start, narration))
            free = start + narration.shape[1] + round(NARRATION_PAUSE_SECONDS * SAMPLE_RATE)
    return placed


def _duck(narrations: Narrations, samples: int) -> NDArray[np.float32]:
    """Return the gain of the other sounds: down before each narration and up after it, in a ramp of decibels."""
    decibels, ramp = np.zeros(samples, np.float32), round(DUCK_RAMP_SECONDS * SAMPLE_RATE)
    for start, narration in narrations:
        end = start + narration.shape[1]
        shape = np.interp(np.arange(samples), [start - ramp, start, end, end + ramp], [0, -DUCK_LU, -DUCK_LU, 0])
        decibels = np.minimum(decibels, shape.astype(np.float32))
    gains: NDArray[np.float32] = (10 ** (decibels / 20)).astype(np.float32)
    return gains


def _fit_music(music: AudioSamples, film: AudioSamples) -> AudioSamples:
    """Return the music at its level under the film, repeated or cut to its length, with a fade at both ends."""
    length, fade = film.shape[1], min(round(LOOP_FADE_SECONDS * SAMPLE_RATE), music.shape[1] // 2)
    fitted, start = np.zeros_like(film), 0
    while start < length:
        part = music.copy()
        part[:, :fade] *= _rise(fade) if start else 1
        if start + music.shape[1] < length:
            part[:, -fade:] *= _rise(fade)[::-1]
        _add(fitted, part, start)
        start += music.shape[1] - fade
    fade_in(fitted, MUSIC_FADE_IN_SECONDS)
    fade_in(fitted[:, ::-1], MUSIC_FADE_OUT_SECONDS)
    return _level(fitted, film, -MUSIC_BELOW_LU)


def _add(mix: AudioSamples, audio: AudioSamples, start: int) -> None:
    """Add the audio to the mix, in place, from this sample on, as far as it fits."""
    section = mix[:, start : start + audio.shape[1]]
    section += audio[:, : section.shape[1]]


def fade_in(audio: AudioSamples, seconds: float) -> None:
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
