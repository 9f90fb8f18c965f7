"""Loudness is measured according to the standard, and the target loudness is reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from providers.media.audio import (
    SAMPLE_RATE,
    SILENCE_LUFS,
    decode_aac,
    decode_audio,
    master_audio,
    measure_loudness,
    measure_true_peak,
    normalise_loudness,
    remove_subsonic,
)


def tone(dbfs: float, seconds: float, hertz: float = 1000.0, phase: float = 0.0):
    wave = 10 ** (dbfs / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE + phase)
    return np.tile(wave.astype(np.float32), (2, 1))


@pytest.mark.parametrize(
    ("audio", "lufs"),
    [
        (tone(-23, 20), -23.0),
        (tone(-33, 20), -33.0),
        (np.concatenate([tone(-36, 10), tone(-23, 60), tone(-36, 10)], axis=1), -23.0),
        (np.concatenate([tone(-26, 20), tone(-20, 20.1), tone(-26, 20)], axis=1), -23.0),
    ],
    ids=["EBU 3341 case 1", "EBU 3341 case 2", "EBU 3341 case 3", "EBU 3341 case 5"],
)
def test_loudness_matches_the_ebu_test_signals(audio, lufs):
    """The test signals of EBU Tech 3341 have the published loudness within 0.1 LU."""
    assert measure_loudness(audio) == pytest.approx(lufs, abs=0.1)


@pytest.mark.parametrize(("phase", "peak"), [(0.0, -6.0), (np.pi / 4, -6.0)], ids=["on a sample", "between samples"])
def test_a_peak_between_the_samples_is_measured(phase, peak):
    """A tone at a quarter of the sample rate has the same true peak at both phases; its sample peak differs by 3 dB."""
    audio = tone(-6.0, 8, SAMPLE_RATE / 4, phase)
    audio[:, :SAMPLE_RATE] *= np.linspace(0, 1, SAMPLE_RATE)  # a tone that starts at once has a peak of its own

    assert measure_true_peak(audio) == pytest.approx(peak, abs=0.3)


def sparse_clicks():
    """Return near silence with a click every second: the peaks are far above the loudness."""
    audio = tone(-50, 6)
    for start in range(0, audio.shape[1], SAMPLE_RATE):
        audio[:, start : start + 480] += tone(-3, 0.01, 700)
    return audio


def noise():
    return np.random.default_rng(3).uniform(-1, 1, (2, 4 * SAMPLE_RATE)).astype(np.float32)


SIGNALS = {
    "quiet": lambda: tone(-50, 4),
    "loud": lambda: np.sign(tone(0, 4, 220)),
    "noise": noise,
    "clicks": sparse_clicks,
    "short": lambda: tone(-30, 0.2),
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_mastered_audio_has_the_target_loudness_without_clipping(signal):
    """Every signal reaches -14 LUFS within 1 LU, and after encoding no peak is above -1 dBTP."""
    packets, loudness = master_audio(SIGNALS[signal](), lufs=-14.0)

    decoded = decode_aac(packets)
    assert measure_loudness(decoded) == pytest.approx(-14, abs=1)
    assert measure_loudness(decoded) == pytest.approx(loudness)
    assert measure_true_peak(decoded) <= -1


def sampled(function):
    at = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    return np.tile(function(at).astype(np.float32), (2, 1))


INAUDIBLE = {
    "a constant offset": lambda at: 0.5 + 0 * at,
    "a negative offset": lambda at: -0.9 + 0 * at,
    "a 3 Hz hum": lambda at: 0.5 * np.sin(2 * np.pi * 3 * at),
    "a 7 Hz hum with an offset": lambda at: 0.3 + 0.3 * np.sin(2 * np.pi * 7 * at),
}
UNREACHABLE = {
    "one click": lambda at: 0.9 * ((at >= 2) & (at < 2.001)),
    "a click of one sample": lambda at: 0.5 * (at == 1.0),
    "a tap each second": lambda at: 0.5 * np.sin(2 * np.pi * 3000 * at) * (at % 1 < 0.002),
    "an offset with a click": lambda at: 0.5 + 0.4 * ((at >= 2) & (at < 2.001)),
}
REACHABLE = {
    "an offset with a voice": lambda at: 0.4 + 0.05 * np.sin(2 * np.pi * 440 * at),
    "a 3 Hz hum with a voice": lambda at: 0.6 * np.sin(2 * np.pi * 3 * at) + 0.02 * np.sin(2 * np.pi * 300 * at),
}


@pytest.mark.parametrize("signal", INAUDIBLE)
def test_what_is_below_20_hz_is_silence(signal):
    """Nothing is left to amplify, neither in the middle nor at the ends."""
    audio = remove_subsonic(sampled(INAUDIBLE[signal]))

    assert (audio.shape, audio.dtype) == ((2, 3 * SAMPLE_RATE), np.float32)
    assert measure_loudness(audio) <= SILENCE_LUFS


@pytest.mark.parametrize("hertz", [30, 440, 15_000])
def test_what_is_above_20_hz_is_kept(hertz):
    """A tone has the same level as before."""
    before = tone(-20, 3, hertz)

    assert np.abs(remove_subsonic(before))[:, 48_000:96_000].max() == pytest.approx(np.abs(before).max(), rel=0.06)


@pytest.mark.parametrize("signal", UNREACHABLE)
@pytest.mark.slow
def test_clicks_become_as_loud_as_the_peaks_allow(signal):
    """The gain is bounded: every sample is finite, and the peaks are close to the limit."""
    packets, loudness = master_audio(remove_subsonic(sampled(UNREACHABLE[signal])), lufs=-14.0)

    decoded = decode_aac(packets)
    assert np.isfinite(decoded).all()
    assert loudness < -15
    assert -5 < measure_true_peak(decoded) <= -1


@pytest.mark.parametrize("signal", REACHABLE)
def test_a_voice_over_an_offset_or_a_hum_has_the_target_loudness(signal):
    """What cannot be heard does not take the headroom of what can."""
    packets, loudness = master_audio(remove_subsonic(sampled(REACHABLE[signal])), lufs=-14.0)

    assert loudness == pytest.approx(-14, abs=1)
    assert measure_true_peak(decode_aac(packets)) <= -1


def test_silence_is_not_amplified():
    """Silent audio is returned unchanged."""
    silence = np.zeros((2, SAMPLE_RATE), np.float32)

    assert normalise_loudness(silence, lufs=-14, ceiling_dbtp=-1) is silence


def test_audio_with_enough_headroom_gets_a_constant_gain():
    """The limiter is not used when the peaks stay below the ceiling."""
    audio = tone(-30, 2)

    louder = normalise_loudness(audio, lufs=-14, ceiling_dbtp=-1)

    assert np.ptp(louder[:, 100:][np.abs(audio[:, 100:]) > 0.01] / audio[:, 100:][np.abs(audio[:, 100:]) > 0.01]) < 1e-3


def test_a_peak_added_by_the_encoder_is_removed() -> None:
    """At one bitrate the encoder turns this rain into a peak of -0.8 dBTP, 3.5 dB above its input."""
    audio = decode_audio(Path(__file__).with_name("aac_peak_overshoot.mp4"), 3.0)
    fade = np.linspace(0, np.pi / 2, 480, dtype=np.float32)
    audio[:, :480] *= np.sin(fade)
    audio[:, -480:] *= np.cos(fade)
    packets, loudness = master_audio(audio, lufs=-14.0)

    assert measure_true_peak(decode_aac(packets)) <= -1
    assert loudness == pytest.approx(-14, abs=0.5)
