"""Clips: real files, always the same for the same order, and plainly of the sandbox."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sandbox.clips import paint
from sandbox.colour import STEPS, mood_of, palette
from sandbox.lettering import lettering, title_of
from sandbox.orders import Order
from sandbox.scenes import Grid, scene


def painted(folder: Path, prompt: str = "Rain on a tin roof", seconds: int = 1, *, silent: bool = False) -> Path:
    path = folder / "clip.mp4"
    paint(Order(prompt, seconds, 180, 320, silent), path)
    return path


def test_a_clip_is_a_real_mp4_of_exact_length(tmp_path: Path) -> None:
    """H.264 High, yuv420p, bt709, 30 frames a second, AAC 48 kHz stereo, with its index in front."""
    path = painted(tmp_path, seconds=2)

    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        codec = video.codec_context
        frames = list(container.decode(video))
        found = (codec.name, codec.profile, codec.pix_fmt, codec.width, codec.height, video.average_rate)
        colours = (codec.color_range, codec.color_primaries, codec.color_trc, codec.colorspace)
        heard = (sound.codec_context.name, sound.codec_context.sample_rate, sound.codec_context.layout.name)
        comment = container.metadata["comment"]
    whole = path.read_bytes()

    assert found == ("h264", "High", "yuv420p", 180, 320, 30)
    assert [int(value) for value in colours] == [1, 1, 1, 1]
    assert len(frames) == 60
    assert heard == ("aac", 48_000, "stereo")
    assert comment.startswith("SANDBOX")
    assert 0 < whole.index(b"moov") < whole.index(b"mdat")
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["clip.mp4", "clip.webp"]


def test_the_same_order_is_the_same_file_and_another_prompt_another(tmp_path: Path) -> None:
    """Every byte follows from prompt, seconds and size."""
    (tmp_path / "again").mkdir()
    (tmp_path / "other").mkdir()

    first = painted(tmp_path).read_bytes()
    again = painted(tmp_path / "again").read_bytes()
    other = painted(tmp_path / "other", "A cat in the desert").read_bytes()

    assert first == again
    assert first != other


def test_different_prompts_look_different(tmp_path: Path) -> None:
    """Two moods are far apart in colour, and within a clip the picture moves."""
    (tmp_path / "other").mkdir()
    painted(tmp_path, "A quiet forest")
    painted(tmp_path / "other", "A fire at night")

    stills = [np.asarray(Image.open(path / "clip.webp"), dtype=float) for path in (tmp_path, tmp_path / "other")]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(video=0)]

    assert np.abs(stills[0] - stills[1]).mean() > 20
    assert np.abs(frames[0] - frames[-1]).mean() > 2


def test_a_silent_clip_has_no_sound_track(tmp_path: Path) -> None:
    """The failure word #silent needs such a file."""
    with av.open(str(painted(tmp_path, silent=True))) as container:
        assert len(container.streams.audio) == 0
        assert len(container.streams.video) == 1


@pytest.mark.parametrize("kind", ["silk", "orbs", "waves", "rays"])
def test_every_scene_uses_its_palette_and_moves(kind: str) -> None:
    """A field spans a good part of 0..1, is nowhere undefined, and changes with time."""
    moving = scene(kind, Grid(45, 80), np.random.default_rng(7))

    start, later = moving.at(0), moving.at(2)

    assert start.shape == (80, 45)
    assert np.isfinite(start).all()
    assert np.ptp(start) > 0.3
    assert np.abs(start - later).mean() > 0.01


def test_a_palette_runs_from_dark_to_light_in_the_colour_of_its_mood() -> None:
    """A forest is green in the middle of its ramp."""
    ramp, _ = palette("A quiet forest", np.random.default_rng(1))

    middle = ramp[STEPS // 2].astype(int)

    assert ramp[0].sum() < ramp[STEPS // 2].sum() < ramp[-1].sum()
    assert middle[1] > middle[0]
    assert middle[1] > middle[2]


def test_the_first_mood_word_of_a_prompt_counts() -> None:
    """So that a clip looks like its own first sentence, not like the style at the end."""
    assert mood_of("Dunes of a desert. Style: neon") == mood_of("desert")
    assert mood_of("A rainy day") == mood_of("rain")
    assert mood_of("Nothing of the kind") is None


def test_the_title_is_short_and_leaves_the_lower_third_free() -> None:
    """Captions go there."""
    letters = lettering("word " * 200, "label", 720, 1280)
    bright_rows = np.flatnonzero((letters.ink > 100).any(axis=1)) + letters.top

    assert len(title_of("word " * 200)) <= 60
    assert bright_rows.min() > 1280 * 0.14
    assert bright_rows.max() < 1280 * 0.5
