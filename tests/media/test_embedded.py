"""The renderer on this machine keeps the promises of a provider."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime

import pytest

from providers.base import Done, Failed, Unavailable
from providers.renders.embedded import EmbeddedRenders
from tests.media.children import ours


def request(*digests: str, seconds: float = 1.75, **wanted):
    clips = [{"digest": digest, "seconds": seconds, "overlay": "Read me"} for digest in digests]
    return {"width": 360, "height": 640, **wanted, "clips": clips}


async def ignore(_: float) -> None:
    pass


async def test_an_order_has_one_id_wherever_it_is_asked_for(shelf):
    """The id follows from the manifest and the key, so an order placed twice is one order."""
    renders, asked = EmbeddedRenders(shelf), request("0" * 64)

    placed = await renders.submit(asked, key="run/render/1")

    assert placed == await EmbeddedRenders(shelf).submit(dict(reversed(asked.items())), key="run/render/1")
    assert await renders.lookup(asked, key="run/render/1", since=datetime.now(UTC)) == [placed]
    assert placed != await renders.submit(asked, key="run/render/2")
    assert (placed[:4], len(placed)) == ("rnd_", 28)


async def test_a_render_brings_a_film_and_its_facts(shelf, clip, tmp_path):
    """The film lies in the folder, nothing else does, and progress only ever grew."""
    asked = request(shelf.put(clip(luma=60, seconds=1.75)), shelf.put(clip(luma=150, seconds=1.75)))
    heard = []

    async def progress(share):
        heard.append(share)

    done = await EmbeddedRenders(shelf).poll("rnd_1", asked, into=tmp_path, progress=progress)

    assert isinstance(done, Done)
    assert list(tmp_path.iterdir()) == [done.file]
    assert {**done.facts, "lufs": round(done.facts["lufs"])} == {
        "seconds": 3.0,
        "width": 360,
        "height": 640,
        "fps": 30,
        "codec": "h264",
        "lufs": -14,
        "size_bytes": done.file.stat().st_size,
        "renderer": "embedded",
        "warnings": done.facts["warnings"],
    }
    assert heard
    assert heard == sorted(set(heard))
    assert 0 < heard[0] <= heard[-1] <= 1


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("manifest_invalid", {"clips": []}),
        ("manifest_invalid", request("0" * 64, seconds=1.0)),
        ("artifact_missing", request("0" * 64, seconds=4.0)),
    ],
    ids=["no clips", "too short", "a clip that is gone"],
)
async def test_what_can_never_be_rendered_fails_at_once(code, asked, shelf, tmp_path):
    """It is told as a failure, for good."""
    failed = await EmbeddedRenders(shelf).poll("rnd_1", asked, into=tmp_path, progress=ignore)

    assert isinstance(failed, Failed)
    assert failed.code == code


async def test_a_clip_that_is_none_fails_the_render(shelf, tmp_path):
    """The clip's own code tells what is wrong."""
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"<html>" * 100)
    into = tmp_path / "into"
    into.mkdir()

    failed = await EmbeddedRenders(shelf).poll(
        "rnd_1", request(shelf.put(rubbish), seconds=3.0), into=into, progress=ignore
    )

    assert isinstance(failed, Failed)
    assert (failed.code, list(into.iterdir())) == ("clip_corrupt", [])


async def test_a_film_that_does_not_conform_fails_and_is_not_kept(shelf, clip, tmp_path):
    """A loudness nobody can reach without clipping is an error, not a film."""
    asked = request(shelf.put(clip(seconds=3.0)), seconds=3.0, loudness_lufs=0.0)

    failed = await EmbeddedRenders(shelf).poll("rnd_1", asked, into=tmp_path, progress=ignore)

    assert isinstance(failed, Failed)
    assert (failed.code, "loudness" in failed.message) == ("film_not_conformant", True)
    assert list(tmp_path.iterdir()) == []


def long_request(shelf, clip):
    return request(*[shelf.put(clip(seconds=2.0))] * 3, seconds=2.0, width=1080, height=1920)


async def test_a_render_over_its_time_is_tried_again_and_leaves_nothing(shelf, clip, tmp_path):
    """Neither a process nor a file stays."""
    with pytest.raises(Unavailable):
        await EmbeddedRenders(shelf, limit_seconds=1.0).poll(
            "rnd_1", long_request(shelf, clip), into=tmp_path, progress=ignore
        )

    assert (ours(), list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("how", ["the child is killed", "the asker is cancelled"])
async def test_a_render_cut_short_leaves_nothing(how, shelf, clip, tmp_path):
    """However it ends, what was begun is removed; a killed child is tried again."""
    begun = asyncio.Event()

    async def progress(_):
        begun.set()

    renders = EmbeddedRenders(shelf)
    looking = asyncio.create_task(renders.poll("rnd_1", long_request(shelf, clip), into=tmp_path, progress=progress))
    await asyncio.wait_for(begun.wait(), 60)
    [child] = ours()
    if how == "the child is killed":
        os.killpg(child.pid, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await looking
    else:
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking

    assert (child.is_running(), list(tmp_path.iterdir())) == (False, [])
