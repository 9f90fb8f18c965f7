"""The captions of a film as a file of subtitles and as a text track."""

from __future__ import annotations

from itertools import pairwise

import av
import pytest

from providers.media.audio_intake import write_sound
from providers.media.conformance import FilmSpec, check_film, failed_errors
from providers.media.film import render_film
from providers.media.film_texts import text_track
from providers.media.subtitles import (
    TextTrack,
    TimedText,
    find_language,
    format_srt,
    split_cues,
    split_samples,
)
from providers.renders.embedded import EmbeddedRenders
from providers.renders.manifest import Manifest, ManifestClip, plan_texts
from providers.results import Succeeded
from tests.media.tones import tone

SIZE = {"width": 360, "height": 640}


def build(*overlays: str) -> Manifest:
    return Manifest(**SIZE, clips=[ManifestClip(digest="0" * 64, seconds=2, overlay=overlay) for overlay in overlays])


def test_a_file_of_subtitles_has_numbers_times_and_texts():
    """The cues are in the order of their times, and no text can end a cue."""
    texts = [
        TimedText(61.5, 3723.0425, "مرحبا"),
        TimedText(0.25, 1.9999, "Stay\n\nfor  the --> rain"),
        TimedText(2, 3, "  "),
    ]

    assert format_srt(texts) == (
        "1\n00:00:00,250 --> 00:00:02,000\nStay for the → rain\n\n2\n00:01:01,500 --> 01:02:03,042\nمرحبا\n"
    )
    assert format_srt([]) == ""


def test_the_samples_of_a_track_do_not_overlap():
    """The first starts at 0; texts at the same time share a sample, and none is longer than the film."""
    track = TextTrack([TimedText(1, 3, "caption"), TimedText(2, 9, "voice")], 4, "")

    assert split_samples(track) == [(0, 1, ""), (1, 2, "caption"), (2, 3, "caption\nvoice"), (3, 4, "voice")]


@pytest.mark.parametrize(
    ("text", "cues"),
    [
        ("Stay. Listen.", ["Stay. Listen."]),
        (
            "Rain falls on the roof of the old house. Nobody is awake to hear it, and the night goes on.",
            ["Rain falls on the roof of the old house.", "Nobody is awake to hear it,", "and the night goes on."],
        ),
        (
            "The river carries every drop of it down to the wide and silent sea",
            ["The river carries every drop of", "it down to the wide and silent sea"],
        ),
        (
            "夜の雨が古い家の屋根に降る。誰も起きていない、聞く人もいない。",
            ["夜の雨が古い家の屋根に降る。", "誰も起きていない、聞く人もいない。"],
        ),
        ("a" * 100, ["a" * 25] * 4),
    ],
    ids=["short", "sentences and phrases", "words", "without spaces", "one word"],
)
def test_spoken_words_are_split_at_the_ends_of_sentences_and_phrases(text, cues):
    """Each cue fits into two lines, none is empty, and they share the time of the words by their lengths."""
    split = split_cues(TimedText(2, 8, text))

    assert [cue.text for cue in split] == cues
    assert (split[0].start, split[-1].end) == (2, pytest.approx(8))
    assert all(first.end == second.start for first, second in pairwise(split))
    rates = [len(cue.text) / (cue.end - cue.start) for cue in split]
    assert max(rates) - min(rates) < 1


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Stay for the rain", ""),
        ("夜の雨 Rain", "jpn"),
        ("雨夜", "zho"),
        ("비 내리는 밤", "kor"),
        ("مطر الليل", "ara"),
        ("باران شب می‌بارد", ""),
        ("Привет", ""),
        ("", ""),
    ],
)
def test_a_language_is_known_by_a_script_of_its_own(text, language):
    """It is empty for scripts of many languages."""
    assert find_language(text) == language


@pytest.mark.slow
def test_a_film_has_its_captions_as_a_text_track(clip, tmp_path):
    """It has the times of the captions and the language, and no player displays it unasked; the film conforms."""
    manifest = build("夜の雨", "", "朝が来る")
    clips = [clip(seconds=2.0)] * 3

    render_film(manifest, clips, tmp_path / "film.mp4")

    assert failed_errors(check_film(tmp_path / "film.mp4", FilmSpec(5, **SIZE))) == []
    with av.open(str(tmp_path / "film.mp4")) as container:
        [stream] = container.streams.subtitles
        assert (stream.codec_context.name, stream.language, int(stream.disposition)) == ("mov_text", "jpn", 0)
    assert read_track(tmp_path / "film.mp4") == [
        (pytest.approx(start / 30, abs=0.001), pytest.approx(end / 30, abs=0.001), text)
        for (start, end), text in zip(plan_texts(manifest).captions, ("夜の雨", "", "朝が来る"), strict=True)
        if text
    ]


@pytest.mark.slow
async def test_the_subtitles_of_a_narrated_film_are_the_spoken_words(file_store, clip, tmp_path):
    """They are in the file and in the text track at the times of the narration, with the captions of other clips."""
    write_sound(tmp_path / "words", tone(900, 3))
    words = "Rain falls on the roof of the old house. Nobody is awake to hear it."
    narration = {"digest": file_store.put(tmp_path / "words"), "text": words}
    digest = file_store.put(clip(seconds=4.0))
    clips = [{"digest": digest, "seconds": 4, "overlay": overlay} for overlay in ("Seen only", "Two")]
    request = {**SIZE, "crossfade_seconds": 0, "clips": [{**clips[0], "narration": narration}, clips[1]]}
    (tmp_path / "into").mkdir()

    result = await EmbeddedRenders(file_store).poll("rnd_1", request, into=tmp_path / "into", progress=ignore)

    assert isinstance(result, Succeeded)
    cues = [TimedText(*times, text) for *times, text in read_track(result.file)]
    assert result.subtitles == format_srt(cues)
    assert [(round(cue.start, 1), round(cue.end, 1), cue.text) for cue in cues] == [
        (0.3, 2.1, "Rain falls on the roof of the old house."),
        (2.1, 3.3, "Nobody is awake to hear it."),
        (4.0, 8.0, "Two"),
    ]


def test_words_after_the_end_of_the_film_have_no_subtitles():
    """A cue that the end cuts ends with the film."""
    track = text_track(build("", ""), [TimedText(1, 9, "Rain falls on the roof of the old house. Nobody is awake.")])

    assert [(round(cue.start, 1), cue.end, cue.text) for cue in track.texts] == [
        (1.0, 3.5, "Rain falls on the roof of the old house.")
    ]


def read_track(film):
    """Return the texts of the text track with their times in seconds."""
    with av.open(str(film)) as container:
        [stream] = container.streams.subtitles
        samples = [(packet.pts, packet.duration, bytes(packet)[2:].decode()) for packet in container.demux(stream)]
    return [(start / 1000, (start + length) / 1000, text) for start, length, text in samples if text]


async def ignore(_: float) -> None:
    pass


def test_a_film_without_captions_has_no_text_track(clip, tmp_path):
    """Its streams are video and audio."""
    assert text_track(build("", " ")).texts == []
    render_film(build("", " "), [clip(seconds=2.0)] * 2, tmp_path / "film.mp4")

    with av.open(str(tmp_path / "film.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_a_film_with_two_text_tracks_does_not_conform(clip, tmp_path):
    """One more stream than a film can have is an error."""
    with av.open(str(clip(seconds=3.0))) as source, av.open(str(tmp_path / "film.mp4"), "w", format="mp4") as target:
        streams = {each: target.add_stream_from_template(each) for each in source.streams}
        for _ in range(2):
            target.add_stream("mov_text").codec_context.subtitle_header = b"[V4+ Styles]\n"
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)

    results = failed_errors(check_film(tmp_path / "film.mp4", FilmSpec(3, 180, 320)))
    assert "streams" in {result.rule for result in results}
