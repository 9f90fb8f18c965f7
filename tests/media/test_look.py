"""The look of a film: a title card, captions word by word, an end card and gentle movement, measured in its frames."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from prompts.look import Look
from providers.media.conformance import FilmSpec
from providers.media.film import render_film
from providers.media.film_texts import FilmTexts, made_with_ai
from providers.media.movement import MAX_ZOOM, push_in
from providers.media.video_frames import create_frame, read_frames, view_planes
from providers.renders.manifest import Manifest, ManifestClip, parse_manifest, plan_texts
from tests.media.made_fonts import use_fonts, write_font
from tests.media.test_film import read_luma

SIZE = (540, 960)
SAFE = (slice(144, 624), slice(96, 444))  # rows and columns
LOOK = Look(title_card=True, word_captions=True, end_card=True, movement=True)


def build(*overlays: str, look: Look = LOOK, title: str = "Rain at the window", **properties) -> Manifest:
    clips = [ManifestClip(digest="0" * 64, seconds=4, overlay=overlay) for overlay in overlays]
    return Manifest(width=SIZE[0], height=SIZE[1], clips=clips, title=title, look=look, **properties)


def draw(texts: FilmTexts, seconds: float, luma: int = 120) -> np.ndarray:
    """Return the luma plane of a flat picture with the texts of this time."""
    canvas = create_frame(*SIZE)
    for plane, value in zip(view_planes(canvas), (luma, 128, 128), strict=True):
        plane[...] = value
    texts.draw(canvas, round(seconds * 30))
    return view_planes(canvas)[0].astype(int)


def text_bounds(luma: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(luma > 200)
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_the_title_is_over_the_start_of_the_first_clip():
    """It fades in and out inside the safe zone, and is gone before the first caption."""
    manifest = build("Stay", "Listen")
    texts, times = FilmTexts(manifest), plan_texts(manifest)

    shares = [(draw(texts, seconds) > 200).mean() for seconds in (0.0, 0.7, 1.0)]
    top, bottom, left, right = text_bounds(draw(texts, 0.7))

    assert shares[0] == 0
    assert shares[1] == shares[2] > 0.01
    assert (SAFE[0].start <= top, bottom < SAFE[0].stop, SAFE[1].start <= left, right < SAFE[1].stop) == (True,) * 4
    assert bottom - top > 0.06 * SIZE[1]
    assert 1.2 <= times.title_end / 30 <= 2.0
    assert times.captions[0][0] >= times.title_end
    assert not (draw(texts, times.title_end / 30 - 1 / 30) > 180).any()


def test_the_words_of_a_caption_appear_one_after_the_other():
    """The first is there soon, the last one in the first half of the time, and all are there together."""
    texts, (start, end) = FilmTexts(build("", "One two three four", "", title="")), (3.5, 7.0)

    ink = [(draw(texts, start + at) > 200).any(axis=0) for at in (0.5, 0.9, 1.7, 2.9)]
    widths = [int(np.flatnonzero(each).max() - np.flatnonzero(each).min()) if each.any() else 0 for each in ink]

    assert 0 < widths[0] < widths[1] < widths[2] == widths[3]
    assert np.array_equal(ink[2], ink[3])
    assert not (draw(texts, end + 0.3) > 200).any()


def test_the_end_card_is_over_the_darkened_last_pictures():
    """It says that the film was made with AI, in the safe zone, and the caption has gone before."""
    manifest = build("", "Listen")
    texts, times = FilmTexts(manifest), plan_texts(manifest)

    last = draw(texts, 7.4)
    top, bottom, left, right = text_bounds(last)

    assert (times.end_card_start, times.captions[-1][1]) == (225 - 36, 225 - 36)
    assert last[0, 0] < 80
    assert (SAFE[0].start <= top, bottom < SAFE[0].stop, SAFE[1].start <= left, right < SAFE[1].stop) == (True,) * 4
    assert not (draw(texts, times.end_card_start / 30 - 1 / 30) > 200).any()
    assert made_with_ai(manifest) == "Made with AI"


@pytest.mark.parametrize("luma", [235, 16], ids=["white", "black"])
@pytest.mark.parametrize("seconds", [0.7, 2.9, 7.3], ids=["title card", "caption", "end card"])
def test_a_text_is_legible_on_any_picture(seconds, luma):
    """White letters have a contrast of 4.5 to 1, the limit of WCAG, to what surrounds them."""
    picture = draw(FilmTexts(build("Stay for the rain", "")), seconds, luma)

    letters = picture > 225
    near = np.zeros_like(letters)
    for row, column in ((0, 2), (0, -2), (2, 0), (-2, 0)):
        near |= np.roll(letters, (row, column), (0, 1))
    if seconds == 2.9 and luma == 235:
        top, bottom, left, right = 540, 622, 100, 440  # the white picture itself is no letter
        assert (picture[top:bottom, left:right] < 60).mean() > 0.05
        return
    around = np.percentile(picture[near & ~letters], 10)
    assert (linear(235) + 0.05) / (linear(around) + 0.05) >= 4.5


def linear(luma: float) -> float:
    return max(0.0, (luma - 16) / 219) ** 2.2


def test_the_words_of_arabic_appear_from_right_to_left(tmp_path, monkeypatch):
    """The first word is at the right; the title is at the right of the safe zone as well."""
    text = "ابتث جحخد"
    write_font(tmp_path / "fonts" / "Made.ttf", dict.fromkeys(text.replace(" ", ""), 500))
    use_fonts(monkeypatch, tmp_path)
    texts = FilmTexts(build("", text, title=text))

    first, all_words = (text_bounds(draw(texts, seconds)) for seconds in (4.0, 5.5))

    assert first[2] > (all_words[2] + all_words[3]) / 2 - 10
    assert first[3] == pytest.approx(all_words[3], abs=1)
    title = draw(texts, 0.7)
    assert text_bounds(title)[3] > SAFE[1].stop - 16


def test_words_without_spaces_appear_in_groups_of_letters(tmp_path, monkeypatch):
    """A Japanese caption appears in more than two steps, from left to right."""
    text = "夜の雨が街を光で描く"
    write_font(tmp_path / "fonts" / "Made.ttf", dict.fromkeys("夜の雨が街を光で描くAI制作", 800))
    use_fonts(monkeypatch, tmp_path)
    manifest = build("", text, title=text)
    texts = FilmTexts(manifest)

    ink = [int((draw(texts, 3.5 + frame / 30) > 200).sum()) for frame in range(0, 60, 4)]

    assert len(set(ink)) > 4
    assert all(after >= before for before, after in pairwise(ink))
    assert made_with_ai(manifest) == "AIで制作"


def test_a_title_without_glyphs_is_left_out(monkeypatch):
    """There is no card without letters."""
    use_fonts(monkeypatch)

    assert not (draw(FilmTexts(build("", "", title="夜")), 0.7) > 200).any()


def frames_of(path, *, has_movement: bool) -> list[np.ndarray]:
    frames = read_frames(path, 120, FilmSpec(4, *SIZE))
    return [view_planes(each)[0].copy() for each in (push_in(frames, 120, 30) if has_movement else frames)]


def test_a_still_clip_is_enlarged_slowly(still_clip):
    """The bars move from the middle by at most 4.5 %, half a pixel in a frame at most, and start slowly."""
    pictures = frames_of(still_clip, has_movement=True)

    places = [find_bar(picture) for picture in pictures]
    steps = np.diff(places)

    middle = (SIZE[0] - 1) / 2
    zoom = (middle - places[-1]) / (middle - places[0]) - 1
    assert 0.02 < zoom <= MAX_ZOOM + 0.003
    assert np.abs(steps).max() < 0.5
    assert np.abs(steps[:15]).max() < 0.1
    assert places[-1] < places[60] < places[20] + 0.1


def test_a_moving_clip_is_not_changed(clip):
    """Every frame is that of the clip."""
    moving = clip(seconds=4.0)

    assert all(map(np.array_equal, frames_of(moving, has_movement=True), frames_of(moving, has_movement=False)))


def find_bar(luma: np.ndarray) -> float:
    """Return the column of the bright bar in the left half of the picture, with a fraction."""
    weights = luma[400:560, : SIZE[0] // 2].astype(float).mean(axis=0) - 40
    weights[weights < 20] = 0
    return float((weights * np.arange(len(weights))).sum() / weights.sum())


@pytest.fixture(scope="session")
def still_clip(tmp_path_factory):
    """Return a clip of a picture with two bright bars, which does not move."""
    from fractions import Fraction

    import av

    path = tmp_path_factory.mktemp("still") / "still.mp4"
    planes = np.full((SIZE[1] * 3 // 2, SIZE[0]), 128, np.uint8)
    planes[: SIZE[1]] = 40
    planes[: SIZE[1], 60:72] = planes[: SIZE[1], 468:480] = 220
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", 30, options={"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(120):
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
def test_a_film_with_a_look_has_the_length_of_its_manifest(clip, tmp_path):
    """The cards are part of the approved length."""
    manifest = build("Stay", "Listen")

    render_film(manifest, [clip(seconds=4.0), clip(seconds=4.0, luma=60)], tmp_path / "film.mp4")

    frames = read_luma(tmp_path / "film.mp4")
    assert len(frames) == 225
    assert (frames[21] > 200).sum() > 2000


def test_without_a_look_nothing_is_added(clip):
    """There is no card and a caption appears as a whole; the stored manifest is that of an earlier version."""
    manifest = build("Stay for the rain", "Listen", look=Look())
    texts = FilmTexts(manifest)

    assert "look" not in manifest.model_dump()
    assert parse_manifest(manifest.model_dump()) == manifest
    assert np.array_equal(draw(texts, 0.0), draw(texts, 3.0))
    assert (draw(texts, 0.0)[0, 0], draw(texts, 7.4)[0, 0]) == (120, 120)
    assert parse_manifest(build("Stay").model_dump()).look == LOOK
