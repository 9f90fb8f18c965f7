"""`myloware clips check` and `films check` say what would be done with a file."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from providers.media import film
from providers.media.certificates import development_key
from providers.media.provenance import sign_film
from providers.renders.manifest import Manifest, ManifestClip

SIZE = {"width": 180, "height": 320}
ORDER = ("--seconds", "1", "--size", "180x320")


def run(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize(
    ("properties", "action", "warnings"),
    [
        ({}, "copied", 0),
        ({"color": 2}, "coded", 0),
        ({"width": 320, "height": 180}, "coded", 1),
        ({"seconds": 2.0}, "cut", 1),
        ({"seconds": 0.7}, "copied", 1),
    ],
    ids=["exact", "untagged", "landscape", "too long", "too short"],
)
def test_a_clip_that_can_be_used_is_described(properties, action, warnings, clip):
    """The exit status is 0, warnings included, and what was measured is in the report."""
    path = clip(**properties)

    result = run("clips", "check", path, *ORDER, "--json")

    report = json.loads(result.stdout)
    assert (result.exit_code, report["action"], len(report["warnings"])) == (0, action, warnings)
    assert report["delivered"]["seconds"] == pytest.approx(properties.get("seconds", 1.0), abs=0.02)
    assert {"starts_at_once", "colour", "frame_size", "frame_rate", "audio"} < set(report["delivered"])
    assert -25 < report["lufs"] < -15


def test_the_description_of_a_clip_can_be_read(clip):
    """Without --json there is one line for each fact."""
    result = run("clips", "check", clip(seconds=2.0), *ORDER)

    assert result.exit_code == 0
    assert {"action: cut", "warnings: It lasts 2.00 s instead of 1 s, and was cut."} <= set(result.stdout.splitlines())


@pytest.mark.parametrize("content", [b"", b"<html>no</html>", None], ids=["empty", "a web page", "far too short"])
def test_a_clip_that_cannot_be_used_is_refused(content, clip, tmp_path):
    """The exit status is 1, and the report has the code and a sentence."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip(seconds=0.3).read_bytes() if content is None else content)

    result = run("clips", "check", path, *ORDER, "--json")

    report = json.loads(result.stdout)
    assert (result.exit_code, report["action"]) == (1, "refused")
    assert report["code"].startswith("clip_")
    assert report["message"].endswith(".")


@pytest.mark.parametrize(
    "arguments",
    [
        ("clips", "check", "missing.mp4", *ORDER),
        ("clips", "check", __file__, "--seconds", "1"),
        ("clips", "check", __file__, "--size", "180x320"),
        ("clips", "check", __file__, "--seconds", "0", "--size", "180x320"),
        ("clips", "check", __file__, "--seconds", "1", "--size", "181x320"),
        ("clips", "check", __file__, "--seconds", "1", "--size", "large"),
        ("films", "check", "missing.mp4"),
        ("films", "check"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_has_status_2(arguments):
    """It is neither accepted nor refused."""
    assert run(*arguments).exit_code == 2


def test_a_film_is_judged(clip, tmp_path):
    """A film of ours is accepted; one of another size is refused, and so is what is no film."""
    manifest = Manifest(**SIZE, clips=[ManifestClip(digest="0" * 64, seconds=3.0)])
    film.render_film(manifest, [clip(seconds=3.0)], tmp_path / "film.mp4")

    accepted = run("films", "check", tmp_path / "film.mp4", "--size", "180x320", "--json")
    refused = run("films", "check", tmp_path / "film.mp4", "--json")
    unreadable = run("films", "check", __file__)

    report = json.loads(accepted.stdout)
    assert (accepted.exit_code, report["action"], report["errors"]) == (0, "accepted", [])
    assert "LUFS" in report["measured"]["loudness"]
    assert (refused.exit_code, json.loads(refused.stdout)["errors"]) == (1, ["frame_size (180x320, rotated by 0)"])
    assert (unreadable.exit_code, "action: refused" in unreadable.stdout) == (1, True)


def test_the_manifest_of_a_film_is_read_back(clip, tmp_path):
    """A certificate for development is a warning; a signature that does not hold refuses the film."""
    path = tmp_path / "film.mp4"
    manifest = Manifest(**SIZE, clips=[ManifestClip(digest="0" * 64, seconds=3.0)])
    film.render_film(manifest, [clip(seconds=3.0)], path)
    unsigned = run("films", "check", path, "--size", "180x320", "--json")
    sign_film(path, manifest, [clip(seconds=3.0)], development_key(tmp_path / "data"))
    signed = run("films", "check", path, "--size", "180x320", "--json")
    content = bytearray(path.read_bytes())
    content[content.find(b"AI-generated content")] ^= 1
    path.write_bytes(content)
    changed = run("films", "check", path, "--size", "180x320", "--json")

    reports = [json.loads(result.stdout) for result in (unsigned, signed, changed)]
    assert [result.exit_code for result in (unsigned, signed, changed)] == [0, 0, 1]
    assert reports[0]["c2pa"] == {"marked": False}
    assert [report["c2pa"].get("valid") for report in reports[1:]] == [True, False]
    assert reports[1]["c2pa"]["source_type"] == "trainedAlgorithmicMedia"
    assert any("development" in warning for warning in reports[1]["warnings"])
    assert "assertion.bmffHash.mismatch" in reports[2]["c2pa"]["problems"]
