"""The embedded renderer implements the provider interface."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime

import pytest

from providers.base import Unavailable
from providers.renders.embedded import EmbeddedRenders
from providers.results import Failed, Succeeded
from tests.media.fake_worker import media_subprocesses


def build_request(*digests: str, seconds: float = 1.75, **properties):
    clips = [{"digest": digest, "seconds": seconds, "overlay": "Read me"} for digest in digests]
    return {"width": 360, "height": 640, **properties, "clips": clips}


async def ignore(_: float) -> None:
    pass


async def test_an_order_has_one_id_however_often_it_is_submitted(file_store):
    """The id is computed from the manifest and the key, so an order submitted twice is one order."""
    renders, request = EmbeddedRenders(file_store), build_request("0" * 64)

    task_id = await renders.submit(request, key="run/render/1")

    assert task_id == await EmbeddedRenders(file_store).submit(dict(reversed(request.items())), key="run/render/1")
    assert await renders.lookup(request, key="run/render/1", since=datetime.now(UTC)) == [task_id]
    assert task_id != await renders.submit(request, key="run/render/2")
    assert (task_id[:4], len(task_id)) == ("rnd_", 28)


async def test_a_render_returns_a_film_and_its_facts(file_store, clip, tmp_path):
    """The folder contains only the film, and the reported progress increases."""
    request = build_request(file_store.put(clip(luma=60, seconds=1.75)), file_store.put(clip(luma=150, seconds=1.75)))
    shares = []

    async def progress(share):
        shares.append(share)

    result = await EmbeddedRenders(file_store).poll("rnd_1", request, into=tmp_path, progress=progress)

    assert isinstance(result, Succeeded)
    assert list(tmp_path.iterdir()) == [result.file]
    assert {**result.facts, "lufs": round(result.facts["lufs"])} == {
        "seconds": 3.0,
        "width": 360,
        "height": 640,
        "fps": 30,
        "codec": "h264",
        "lufs": -14,
        "size_bytes": result.file.stat().st_size,
        "renderer": "embedded",
        "checks": result.facts["checks"],
        "warnings": result.facts["warnings"],
        "notices": [],
    }
    assert {"length", "loudness", "black", "frozen", "sound_as_long_as_picture"} <= set(result.facts["checks"])
    assert shares
    assert shares == sorted(set(shares))
    assert 0 < shares[0] <= shares[-1] <= 1


@pytest.mark.slow
async def test_a_film_with_captions_has_subtitles(file_store, clip, tmp_path):
    """They have the times of the captions."""
    request = build_request(file_store.put(clip(seconds=3.0)), seconds=3.0)
    request["clips"][0]["overlay"] = "Stay"

    result = await EmbeddedRenders(file_store).poll("rnd_1", request, into=tmp_path, progress=ignore)

    assert isinstance(result, Succeeded)
    assert result.subtitles == "1\n00:00:00,000 --> 00:00:03,000\nStay\n"


@pytest.mark.parametrize(
    ("code", "manifest"),
    [
        ("manifest_invalid", {"clips": []}),
        ("manifest_invalid", build_request("0" * 64, seconds=1.0)),
        ("artifact_missing", build_request("0" * 64, seconds=4.0)),
    ],
    ids=["no clips", "too short", "a clip that is no longer stored"],
)
async def test_an_impossible_render_fails(code, manifest, file_store, tmp_path):
    """It fails permanently, without a retry."""
    failed = await EmbeddedRenders(file_store).poll("rnd_1", manifest, into=tmp_path, progress=ignore)

    assert isinstance(failed, Failed)
    assert failed.code == code


async def test_an_invalid_clip_fails_the_render(file_store, tmp_path):
    """The failure has the code of the clip's error."""
    invalid_clip = tmp_path / "invalid"
    invalid_clip.write_bytes(b"<html>" * 100)
    into = tmp_path / "into"
    into.mkdir()

    failed = await EmbeddedRenders(file_store).poll(
        "rnd_1", build_request(file_store.put(invalid_clip), seconds=3.0), into=into, progress=ignore
    )

    assert isinstance(failed, Failed)
    assert (failed.code, list(into.iterdir())) == ("clip_corrupt", [])


@pytest.mark.slow
async def test_a_loudness_that_is_impossible_is_a_warning(file_store, clip, tmp_path):
    """The clips are paid: the film is as loud as it can be without clipping, and the reviewer is told."""
    request = build_request(file_store.put(clip(seconds=3.0)), seconds=3.0, loudness_lufs=0.0)

    result = await EmbeddedRenders(file_store).poll("rnd_1", request, into=tmp_path, progress=ignore)

    assert isinstance(result, Succeeded)
    [notice] = result.facts["notices"]
    assert "LUFS instead of 0" in notice
    assert any(warning.startswith("loudness") for warning in result.facts["warnings"])


def long_request(file_store, clip):
    return build_request(*[file_store.put(clip(seconds=2.0))] * 3, seconds=2.0, width=1080, height=1920)


async def test_a_render_over_its_time_limit_is_retried_and_leaves_nothing(file_store, clip, tmp_path):
    """Neither a process nor a file remains."""
    renders = EmbeddedRenders(file_store)
    renders.limit_seconds = 1.0
    with pytest.raises(Unavailable):
        await renders.poll("rnd_1", long_request(file_store, clip), into=tmp_path, progress=ignore)

    assert (media_subprocesses(), list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("interruption", ["subprocess crashed", "subprocess killed", "poll cancelled"])
@pytest.mark.slow
async def test_an_interrupted_render_leaves_nothing(interruption, file_store, clip, tmp_path):
    """Partial files are removed; a render whose subprocess was killed is retried, one that crashed is not."""
    started = asyncio.Event()

    async def progress(_):
        started.set()

    renders, request = EmbeddedRenders(file_store), long_request(file_store, clip)
    task = asyncio.create_task(renders.poll("rnd_1", request, into=tmp_path, progress=progress))
    await asyncio.wait_for(started.wait(), 60)
    [process] = media_subprocesses()
    if interruption == "subprocess crashed":
        os.killpg(process.pid, signal.SIGSEGV)
        failed = await task
        assert isinstance(failed, Failed)
        assert failed.code == "media_failed"
    elif interruption == "subprocess killed":
        os.killpg(process.pid, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await task
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert (process.is_running(), list(tmp_path.iterdir())) == (False, [])
