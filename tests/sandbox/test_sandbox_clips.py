"""Rendered clips: valid files, deterministic for a specification, and marked SANDBOX."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sandbox.clip_renderer import render_clip
from sandbox.clip_spec import ClipSpec
from sandbox.scene_words import SceneChoice, choose_scene
from sandbox.scenes import FORMS, PLACES, paint_scene
from sandbox.soundtrack import SAMPLE_RATE, synthesize_soundtrack
from sandbox.stage import CLOSE, DETAIL, WIDE, Shot, Stage
from sandbox.text_overlay import Mark

FRAMES = ("wide frame", "tight frame", "wide frame again")
#: Texts that name no scene are shown as a card.
SCENES = [
    ("a relaxing rain video", "rain"),
    ("Ein ruhiges Video über Regen", "rain"),
    ("Un vídeo relajante de lluvia", "rain"),
    ("une vidéo calme de pluie", "rain"),
    ("um vídeo de chuva no mar", "rain"),
    ("un video di pioggia sul mare", "rain"),
    ("雨の静かな動画", "rain"),
    ("فيديو هادئ عن المطر", "rain"),
    ("a fire, no rain, no water", "fire"),
    ("ohne Regen oder Schnee, nur ein Lagerfeuer", "fire"),
    ("nieve sin viento", "snow"),
    ("sans pluie, la mer", "sea"),
    ("floresta sem chuva", "forest"),
    ("senza pioggia: il deserto", "desert"),
    ("雨なしの森", "forest"),
    ("نار بدون مطر", "fire"),
    ("A city in the rain", "rain"),
    ("a quiet city at night", "city"),
    ("a fox in the snow", "snow"),
    ("Nachthimmel mit Sternen", "stars"),
    ("a children's story", "stars"),
    ("clouds over a hill", "clouds"),
    ("a coral reef", "underwater"),
    ("a cup of tea", "steam"),
    ("an oat-milk ad", "glass"),
    ("a mousse recipe", "glass"),
    ("eine Werbung für Parfüm", "bottle"),
    ("un livre ancien", "book"),
    ("un anuncio de zapatos", "vase"),
    ("🌧️", "rain"),
    ("🔥🔥", "fire"),
    ("🌊", "sea"),
    ("⭐", "stars"),
    ("🙂", "card"),
    ("explain TCP", "card"),
    ("the news of Monday", "card"),
    ("Monday mornings", "card"),
    ("Something quiet.\n\nSound: Rain.\n\nStyle: like the sea", "card"),
]


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


@pytest.mark.parametrize(("prompt", "scene"), SCENES)
def test_the_words_of_a_prompt_choose_the_scene(prompt: str, scene: str) -> None:
    """A clip shows what its prompt names first, in eight languages and emoji, and never what it excludes."""
    assert choose_scene(prompt).scene == scene


def test_a_card_names_the_subject_and_never_quotes_the_prompt() -> None:
    """A card has the few words of a topic, or none if the prompt is a text."""
    assert choose_scene("Monday news: a desk in the morning").subject == "Monday News"
    assert choose_scene("TCP: a text card with two circles").subject == "TCP"
    assert choose_scene("Packets travel between two machines while a clock counts their way").subject == ""


def test_a_shot_has_the_framing_of_its_prompt() -> None:
    """A film starts wide, comes close, and ends wide from the other side; a card is never reversed."""
    shots = [choose_scene(f"The sea: calm. In a {frame}: waves.") for frame in ("wide frame", "wide frame again")]
    close, card = (
        choose_scene("The sea: calm. In a tight frame: it."),
        choose_scene("TCP: x. In a wide frame again: it."),
    )

    assert [(shot.framing, shot.is_reverse) for shot in shots] == [(WIDE, False), (WIDE, True)]
    assert close.framing in (CLOSE, DETAIL)
    assert (card.scene, card.is_reverse) == ("card", False)


def test_the_cards_of_a_film_differ() -> None:
    """The three cards of a film have a composition each: words alike, the last one large, and the first one large."""
    frames = [choose_scene(f"How TCP works: x. In a {frame}: y.").framing for frame in FRAMES]
    cards = [paint("card", framing, subject="TCP Works") for framing in frames]

    assert frames == [WIDE, CLOSE, DETAIL]
    assert min(np.abs(cards[one] - cards[other]).mean() for one, other in ((0, 1), (1, 2), (0, 2))) > 0.03


@pytest.mark.parametrize(
    ("shot", "scene"), [("rain begins", "rain"), ("a cup of coffee", "steam"), ("the book", "book")]
)
def test_a_film_of_several_things_has_a_shot_of_each(shot: str, scene: str) -> None:
    """The topic decides for all shots; where it names several scenes, each shot has the one that it names."""
    assert choose_scene(f"Rain, coffee and an open book: {shot}.").scene == scene
    assert choose_scene(f"Rain on a roof: {shot}.").scene == "rain"


def paint(scene: str, framing: int, seed: int = 1, t: float = 1.0, subject: str = "") -> np.ndarray:
    """Return a frame of a scene as an array of RGB values 0..1."""
    stage = Stage(90, 160, Shot(seed, 10 * seed + framing, framing, 4.0))
    painter = paint_scene(stage, SceneChoice(scene, "", subject, framing, ""))
    return stage.film(painter(t), t).transpose(2, 0, 1) / 255


@pytest.mark.parametrize("scene", [*PLACES, *FORMS, "card"])
def test_the_shots_of_a_place_belong_together(scene: str) -> None:
    """Three shots have similar colours and different pictures; each moves, and none is flat."""
    shots = [paint(scene, framing) for framing in (WIDE, CLOSE, DETAIL)]
    colours = [shot.mean(axis=(1, 2)) for shot in shots]

    assert all(np.isfinite(shot).all() and shot.std() > 0.02 for shot in shots)
    assert np.abs(colours[0] - colours[1]).max() < 0.2
    assert np.abs(shots[0] - shots[1]).mean() > 0.02
    assert np.abs(shots[1] - shots[2]).mean() > 0.02
    assert np.abs(shots[0] - paint(scene, WIDE, t=3.0)).mean() > 0.002
    assert np.abs(shots[0] - paint(scene, WIDE, seed=2)).mean() > 0.005


def test_scenes_have_their_own_colours() -> None:
    """Fire is warm, the sky at night and the sea are blue, and snow is bright."""
    colours = {scene: paint(scene, WIDE).mean(axis=(1, 2)) for scene in PLACES}

    assert colours["fire"][0] > 1.5 * colours["fire"][2]
    assert colours["desert"][0] > colours["desert"][2]
    assert colours["underwater"][2] > colours["underwater"][0]
    assert colours["stars"][2] > colours["stars"][0]
    assert colours["snow"].min() > 0.5 > colours["stars"].max()


def measure_lines(samples: np.ndarray) -> float:
    """Return by how many dB the highest peak of the spectrum, 100 Hz to 10 kHz, is above the median around it."""
    size = 8192
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2] * np.hanning(size)
    power = (np.abs(np.fft.rfft(windows)) ** 2).mean(axis=0)
    around = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(power, 32, mode="edge"), 65), axis=1)
    first, last = (int(hertz * size / SAMPLE_RATE) for hertz in (100, 10_000))
    return float(10 * np.log10(power[first:last] / around[first:last]).max())


@pytest.mark.parametrize("scene", [*PLACES, "card"])
def test_the_sound_is_balanced_and_fades(scene: str) -> None:
    """Both channels are equally loud within 1 dB but not equal, and start and end in silence."""
    sound = synthesize_soundtrack(scene, np.random.default_rng(5), 4)
    left, right = np.sqrt((sound**2).mean(axis=1))

    assert sound.shape == (2, 4 * SAMPLE_RATE)
    assert abs(20 * np.log10(left / right)) < 1
    assert not np.allclose(sound[0], sound[1])
    assert np.abs(sound).max() < 1
    assert np.abs(sound[:, [0, -1]]).max() < 1e-3


@pytest.mark.parametrize("scene", ["rain", "sea", "fire", "desert", "city"])
def test_the_sound_of_nature_has_no_lines(scene: str) -> None:
    """The spectrum is that of noise: no frequency is more than 12 dB above those around it."""
    sound = synthesize_soundtrack(scene, np.random.default_rng(5), 8)

    assert max(measure_lines(channel) for channel in sound) < 12


def test_the_mark_is_small_and_free_of_the_captions() -> None:
    """The SANDBOX mark is in the upper left corner, inside the area that platforms leave free."""
    mark = Mark(720, 1280)
    rows, columns = np.nonzero(mark.text > 100)

    assert rows.min() + mark.top > 1280 * 0.14
    assert rows.max() + mark.top < 1280 * 0.2
    assert columns.min() > 720 * 0.06
    assert columns.max() < 720 * 0.3
