"""Loudness is measured as the standard says, and reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from providers.media.loudness import RATE, integrated_lufs, normalised, true_peak_dbtp
from providers.media.sound import decode_aac, mastered, sound_of


def tone(dbfs: float, seconds: float, hertz: float = 1000.0, phase: float = 0.0):
    wave = 10 ** (dbfs / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE + phase)
    return np.tile(wave.astype(np.float32), (2, 1))


@pytest.mark.parametrize(
    ("sound", "lufs"),
    [
        (tone(-23, 20), -23.0),
        (tone(-33, 20), -33.0),
        (np.concatenate([tone(-36, 10), tone(-23, 60), tone(-36, 10)], axis=1), -23.0),
        (np.concatenate([tone(-26, 20), tone(-20, 20.1), tone(-26, 20)], axis=1), -23.0),
    ],
    ids=["EBU 3341 case 1", "EBU 3341 case 2", "EBU 3341 case 3", "EBU 3341 case 5"],
)
def test_loudness_agrees_with_the_published_signals(sound, lufs):
    """The signals of EBU Tech 3341 measure as published, to a tenth."""
    assert integrated_lufs(sound) == pytest.approx(lufs, abs=0.1)


@pytest.mark.parametrize(("phase", "peak"), [(0.0, -6.0), (np.pi / 4, -6.0)], ids=["on", "between"])
def test_a_peak_between_the_samples_is_seen(phase, peak):
    """A tone of a quarter of the rate peaks the same whether its samples hit the top or miss it by 3 dB."""
    assert true_peak_dbtp(tone(-6.0, 8, RATE / 4, phase)) == pytest.approx(peak, abs=0.3)


def sparse_clicks():
    """Silence but for a clap every second: the peaks are far above the loudness."""
    sound = tone(-50, 6)
    for start in range(0, sound.shape[1], RATE):
        sound[:, start : start + 480] += tone(-3, 0.01, 700)
    return sound


def noise():
    return np.random.default_rng(3).uniform(-1, 1, (2, 4 * RATE)).astype(np.float32)


SOUNDS = {
    "quiet": lambda: tone(-50, 4),
    "loud": lambda: np.sign(tone(0, 4, 220)),
    "noise": noise,
    "claps": sparse_clicks,
    "short": lambda: tone(-30, 0.2),
}


@pytest.mark.parametrize("which", SOUNDS)
def test_every_sound_ends_as_loud_as_wanted_without_clipping(which):
    """-14 LUFS within one, and after coding no peak above -1 dBTP, whatever came in."""
    packets, told = mastered(SOUNDS[which](), lufs=-14.0)

    heard = decode_aac(packets)
    assert integrated_lufs(heard) == pytest.approx(-14, abs=1)
    assert integrated_lufs(heard) == pytest.approx(told)
    assert true_peak_dbtp(heard) <= -1


def test_silence_stays_silence():
    """Nothing is made louder where there is nothing."""
    silence = np.zeros((2, RATE), np.float32)

    assert normalised(silence, lufs=-14, ceiling_dbtp=-1) is silence


def test_a_sound_with_room_above_it_is_only_multiplied():
    """Where the peaks allow it the sound keeps its shape."""
    sound = tone(-30, 2)

    louder = normalised(sound, lufs=-14, ceiling_dbtp=-1)

    assert np.ptp(louder[:, 100:][np.abs(sound[:, 100:]) > 0.01] / sound[:, 100:][np.abs(sound[:, 100:]) > 0.01]) < 1e-3


def test_a_peak_that_the_coder_made_is_not_kept() -> None:
    """At one bit rate the coder answers this rain with a peak of -0.8 dBTP, 3.5 dB above what it was given."""
    slip = Path(__file__).with_name("coder_slip.mp4")
    sound = sound_of(slip, 3.0)
    fade = np.linspace(0, np.pi / 2, 480, dtype=np.float32)
    sound[:, :480] *= np.sin(fade)
    sound[:, -480:] *= np.cos(fade)
    packets, reached = mastered(sound, lufs=-14.0)

    assert true_peak_dbtp(decode_aac(packets)) <= -1
    assert reached == pytest.approx(-14, abs=0.5)
