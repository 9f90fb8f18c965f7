"""A project is one file, and its errors name the place."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prompts.look import Look
from prompts.project import COMPOSITIONS, FOLDER, OptionError, ProjectError, read_project, read_projects

GOOD = """---
title: Rain
summary: Rain, calmly.
clips: 3
clip_seconds: 4
budget_usd: 5
options:
  clips: {minimum: 1, maximum: 6}
---
Calm.
"""


def test_the_shipped_projects() -> None:
    """AISMR is twelve clips of eight seconds with crossfades of two: a film of 74 seconds."""
    projects = read_projects([FOLDER])
    aismr, shorts = projects["aismr"], projects["shorts"]

    assert sorted(projects) == ["aismr", "shorts"]
    assert (aismr.clips, aismr.clip_seconds, aismr.crossfade_seconds, aismr.film_seconds) == (12, 8, 2, 74)
    assert (len(aismr.subjects), len(set(aismr.subjects)), aismr.subjects[0]) == (12, 12, "Aries")
    assert aismr.budget_usd >= Decimal("0.10") * 12 * 8
    assert (shorts.clips, shorts.clip_seconds, shorts.film_seconds) == (3, 4, 11)


def _changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in GOOD
    path = tmp_path / "rain.md"
    path.write_text(GOOD.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("---\n", "", "rain.md: it must start with front matter"),
        ("---\nCalm.", "Calm.", "rain.md: it must start with front matter"),
        ("title: Rain", "title: [Rain", "rain.md line 3: the front matter is not YAML"),
        ("title: Rain\n", "", "rain.md: title: Field required"),
        ("clips: 3", "clips: three", "rain.md: clips: "),
        ("clips: 3", "clips: 0", "rain.md: clips: "),
        ("clips: 3", "clips: 25", "rain.md: clips: "),
        ("clip_seconds: 4", "clip_seconds: 4\nclip_size: big", "rain.md: clip_size: "),
        ("clip_seconds: 4", "clip_seconds: 4\nfilm_size: 1080x1921", "rain.md: film_size: "),
        ("clip_seconds: 4", "clip_seconds: 4\nfilm_size: 2160x3840", "rain.md: film_size: "),
        ("clip_seconds: 4", "clip_seconds: 4\ncrossfade_seconds: 3", "rain.md: crossfade_seconds: a clip must be"),
        ("clips: 3", "clips: 3\nvideo: {resolution: 1080p}", "rain.md: video.resolution: clip_size 720x1280 is 720p"),
        ("clips: 3", "clips: 3\nvideo: {vendor: kling}", "rain.md: video.vendor: Extra inputs"),
        ("clip_seconds: 4", "clip_seconds: 1", "rain.md: the film would be 2 s long"),
        ("clip_seconds: 4", "clip_seconds: 60\ncrossfade_seconds: 0\ntakes: 9", "rain.md: takes: "),
        ("clips: 3", "clips: 4\nsubjects: [a]", "rain.md: subjects: 1 subjects are too few for 4 clips"),
        ("budget_usd: 5", "budget_usd: 0", "rain.md: budget_usd: "),
        ("budget_usd: 5", "budget_usd: 5\nsurprise: 1", "rain.md: surprise: "),
        ("{minimum: 1, maximum: 6}", "{minimum: 1}", "rain.md: options.clips.maximum: Field required"),
        ("clips: {minimum: 1", "takes: {minimum: 1", "rain.md: options: takes cannot be an option"),
        ("Calm.", "", "rain.md: direction: "),
        ("clips: 3", "clips: 3\nplatforms: [tiktok, myspace]", "rain.md: platforms: 'myspace' is unknown; choose from"),
        ("clips: 3", "clips: 3\nplatforms: [tiktok, tiktok]", "rain.md: platforms: each may be named once"),
        ("clips: 3", "clips: 3\nplatforms: [facebook]", "rain.md: destinations: facebook needs the facebook page"),
        ("clips: 3", "clips: 3\nplatforms: [pinterest]", "rain.md: destinations: pinterest needs the pinterest board"),
        ("clips: 3", "clips: 3\nplatforms: [reddit]", "rain.md: destinations: reddit needs the subreddit"),
        ("clips: 3", "clips: 3\ndestinations: {reddit: rain}", "rain.md: destinations: 'reddit' is no platform of"),
        ("clips: 3", "clips: 3\ncomposition: opera", "rain.md: composition: 'opera' is unknown; choose from shorts"),
        ("clips: 3", "clips: 3\nlook: {font: Arial}", "rain.md: look: 'font' is unknown in shorts; choose from title"),
        (
            "clips: 3",
            "clips: 3\npublisher: vimeo",
            "rain.md: publisher: 'vimeo' is unknown; choose from folder, upload_post",
        ),
        ("clips: 3", "clips: 3\nlook: {movement: slow}", "rain.md: look.movement: it must be true or false"),
        ("clips: 3", "clips: 3\nlook: {accent: true}", "rain.md: look.accent: it must match #"),
        ("clips: 3", "clips: 3\nlook: {accent: red}", "rain.md: look.accent: it must match #"),
    ],
)
def test_an_invalid_file_names_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The message is one sentence with the file and the place."""
    with pytest.raises(ProjectError) as failed:
        read_project(_changed(tmp_path, old, new))

    assert str(failed.value).startswith(message)
    assert "\n" not in str(failed.value)
    assert "pydantic" not in str(failed.value)


def test_a_page_a_board_and_a_subreddit_are_named(tmp_path: Path) -> None:
    """A project that posts to platforms with several places names the place on each."""
    places = "platforms: [facebook, pinterest, reddit]\ndestinations: {facebook: '1', pinterest: '2', reddit: rain}"
    project = read_project(_changed(tmp_path, "clips: 3", f"clips: 3\n{places}"))

    assert project.destinations == {"facebook": "1", "pinterest": "2", "reddit": "rain"}


def test_a_look_is_off_unless_the_project_has_it_on(tmp_path: Path) -> None:
    """Its texts and its colour are apart; `shorts` has everything on."""
    project = read_project(_changed(tmp_path, "clips: 3", "clips: 3\nlook: {movement: true, accent: '#ffffff'}"))

    assert (project.film_look, project.look_texts) == (Look(movement=True), {"accent": "#ffffff"})
    assert not read_project(_changed(tmp_path, "", "")).film_look.is_any
    shorts = read_project(FOLDER / "shorts.md").film_look
    assert shorts == Look(title_card=True, word_captions=True, end_card=True, movement=True)


def test_the_compositions_are_those_of_the_render_service() -> None:
    """A project names a composition that the service has, with texts and a colour that it takes."""
    source = (FOLDER.parents[1] / "remotion/src/schema.ts").read_text()
    block = source.partition("COMPOSITIONS: Record<string, object> = {")[2].partition("};")[0]
    names = {
        name: re.findall(r"(\w+): (?:textSchema|COLOR_SCHEMA)", props)
        for name, props in re.findall(r"(\w+): objectSchema\(\{(.*?)\}, \[\]\)", block)
    }

    assert names == {name: list(look) for name, look in COMPOSITIONS.items()}


@pytest.mark.parametrize("name", ["Rain.md", "rain calm.md", "räin.md"])
def test_a_file_has_the_name_of_its_project(tmp_path: Path, name: str) -> None:
    """Requests refer to a project by this name."""
    (tmp_path / name).write_text(GOOD)
    with pytest.raises(ProjectError, match="name: "):
        read_project(tmp_path / name)


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A file that is no text or does not exist is reported as an error of the project."""
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "binary.md", tmp_path / "none.md"):
        with pytest.raises(ProjectError, match=f"{path.name}: it cannot be read"):
            read_project(path)
    (tmp_path / "list.md").write_text("---\n- a\n---\nCalm.\n")
    with pytest.raises(ProjectError, match=r"list\.md: the front matter must be a mapping"):
        read_project(tmp_path / "list.md")
    with pytest.raises(ProjectError, match="nowhere: the folder of projects does not exist"):
        read_projects([tmp_path / "nowhere"])


def test_a_later_folder_wins(tmp_path: Path) -> None:
    """A file of the same name replaces the shipped one."""
    (tmp_path / "shorts.md").write_text(GOOD)

    assert read_projects([FOLDER, tmp_path])["shorts"].title == "Rain"
    assert sorted(read_projects([FOLDER, tmp_path])) == ["aismr", "shorts"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips": 7}, "clips must be a whole number from 1 to 6"),
        ({"clips": 0}, "clips must be a whole number from 1 to 6"),
        ({"clips": True}, "clips must be a whole number from 1 to 6"),
        ({"clips": "3"}, "clips must be a whole number from 1 to 6"),
        ({"clips": 2.5}, "clips must be a whole number from 1 to 6"),
        ({"clip_seconds": 4}, "has no option 'clip_seconds'; its options: clips"),
        ({"budget_usd": 1000}, "has no option 'budget_usd'"),
    ],
)
def test_options_stay_within_the_bounds_of_the_file(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """The message names the option and the reason."""
    project = read_project(_changed(tmp_path, "Calm.", "Calm."))
    with pytest.raises(OptionError, match=message):
        project.with_options(options)

    assert project.with_options({"clips": 6}).film_seconds == 21.5
    assert project.with_options({}) == project
