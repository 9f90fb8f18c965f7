"""Rendered clips: valid files, deterministic for a specification, and marked SANDBOX."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sandbox.clip_renderer import render_clip
from sandbox.clip_spec import ClipSpec
from sandbox.palettes import STEPS, build_palette, find_palette
from sandbox.scenes import Grid, create_scene
from sandbox.text_overlay import render_text_overlay, shorten_title


def render(folder: Path, prompt: str = "Rain on a tin roof", seconds: int = 1, *, silent: bool = False) -> Path:
    path = folder / "clip.mp4"
    render_clip(ClipSpec(prompt, seconds, 180, 320, silent), path)
    return path


def test_a_clip_is_a_valid_mp4_of_exact_length(tmp_path: Path) -> None:
    """A clip is H.264 High, yuv420p, bt709, 30 frames a second, AAC 48 kHz stereo, with its index at the front."""
    path = render(tmp_path, seconds=2)

    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        codec = video.codec_context
        frames = list(container.decode(video))
        video_format = (codec.name, codec.profile, codec.pix_fmt, codec.width, codec.height, video.average_rate)
        colours = (codec.color_range, codec.color_primaries, codec.color_trc, codec.colorspace)
        audio_format = (audio.codec_context.name, audio.codec_context.sample_rate, audio.codec_context.layout.name)
        comment = container.metadata["comment"]
    content = path.read_bytes()

    assert video_format == ("h264", "High", "yuv420p", 180, 320, 30)
    assert [int(value) for value in colours] == [1, 1, 1, 1]
    assert len(frames) == 60
    assert audio_format == ("aac", 48_000, "stereo")
    assert comment.startswith("SANDBOX")
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["clip.mp4", "clip.webp"]


def test_the_file_depends_only_on_the_specification(tmp_path: Path) -> None:
    """The same prompt, duration and size give the same bytes; another prompt gives another file."""
    (tmp_path / "again").mkdir()
    (tmp_path / "other").mkdir()

    first = render(tmp_path).read_bytes()
    again = render(tmp_path / "again").read_bytes()
    other = render(tmp_path / "other", "A cat in the desert").read_bytes()

    assert first == again
    assert first != other


def test_different_prompts_look_different(tmp_path: Path) -> None:
    """Clips of two palettes differ clearly in colour, and the picture of a clip changes over time."""
    (tmp_path / "other").mkdir()
    render(tmp_path, "A quiet forest")
    render(tmp_path / "other", "A fire at night")

    stills = [np.asarray(Image.open(path / "clip.webp"), dtype=float) for path in (tmp_path, tmp_path / "other")]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(video=0)]

    assert np.abs(stills[0] - stills[1]).mean() > 20
    assert np.abs(frames[0] - frames[-1]).mean() > 2


def test_a_silent_clip_has_no_audio_track(tmp_path: Path) -> None:
    """A silent specification gives a file with video only."""
    with av.open(str(render(tmp_path, silent=True))) as container:
        assert len(container.streams.audio) == 0
        assert len(container.streams.video) == 1


@pytest.mark.parametrize("name", ["silk", "orbs", "waves", "rays"])
def test_every_scene_spans_the_palette_and_moves(name: str) -> None:
    """The field of a scene spans a large part of 0..1, is finite everywhere and changes over time."""
    scene = create_scene(name, Grid(45, 80), np.random.default_rng(7))

    start, later = scene.field_at(0), scene.field_at(2)

    assert start.shape == (80, 45)
    assert np.isfinite(start).all()
    assert np.ptp(start) > 0.3
    assert np.abs(start - later).mean() > 0.01


def test_a_palette_runs_from_dark_to_light_in_its_colour() -> None:
    """The palette of a forest is green in the middle of its ramp."""
    ramp, _ = build_palette("A quiet forest", np.random.default_rng(1))

    middle = ramp[STEPS // 2].astype(int)

    assert ramp[0].sum() < ramp[STEPS // 2].sum() < ramp[-1].sum()
    assert middle[1] > middle[0]
    assert middle[1] > middle[2]


def test_the_first_palette_name_of_a_prompt_counts() -> None:
    """A clip has the palette of its first sentence, not of the style at the end of the prompt."""
    assert find_palette("Dunes of a desert. Style: neon") == find_palette("desert")
    assert find_palette("A rainy day") == find_palette("rain")
    assert find_palette("Nothing of the kind") is None


def test_the_title_is_short_and_leaves_the_lower_third_free() -> None:
    """The title is at most 60 characters long and drawn above the area of the captions."""
    overlay = render_text_overlay("word " * 200, "label", 720, 1280)
    bright_rows = np.flatnonzero((overlay.text > 100).any(axis=1)) + overlay.top

    assert len(shorten_title("word " * 200)) <= 60
    assert bright_rows.min() > 1280 * 0.14
    assert bright_rows.max() < 1280 * 0.5
