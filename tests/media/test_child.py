"""A child knows little, lives briefly, and leaves nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from providers.base import ProviderError
from providers.media.child import ChildDied, ask
from tests.media.children import ours

ROOT = Path(__file__).resolve().parents[2]


def do(what, work, **more):
    return ask("tests.media.children", {"do": what}, work=work, **{"limit_seconds": 30.0, **more})


async def test_a_child_is_told_no_secret(tmp_path, monkeypatch):
    """Of our environment it knows the path and the language."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    told = await do("tell the environment", tmp_path)

    assert "sk-secret" not in json.dumps(told)
    assert (told["HOME"], told["TMPDIR"]) == (str(tmp_path), str(tmp_path))


async def test_a_refusal_comes_back_as_what_it_was(tmp_path):
    """The code and the sentence survive the way between the processes."""
    with pytest.raises(ProviderError, match="no such thing") as refused:
        await do("refuse", tmp_path)

    assert refused.value.code == "no_such_thing"


async def test_a_broken_child_is_noticed(tmp_path):
    """No answer is never taken for one."""
    with pytest.raises(ChildDied):
        await do("break", tmp_path)


async def test_what_a_library_prints_is_no_answer(tmp_path):
    """Only what is told counts."""
    assert await do("chatter", tmp_path) == {"said": True}


async def test_a_slow_child_is_killed(tmp_path):
    """At its limit it is gone, not merely forgotten."""
    with pytest.raises(TimeoutError):
        await do("sleep", tmp_path, limit_seconds=1.0)

    assert ours() == []


async def test_a_child_dies_when_its_asker_is_cancelled(tmp_path):
    """Cancelling waits until it is gone."""
    heard = asyncio.Event()

    async def progress(_):
        heard.set()

    asking = asyncio.create_task(do("sleep", tmp_path, progress=progress))
    await asyncio.wait_for(heard.wait(), 20)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert ours() == []


PARENT = """
import asyncio, pathlib, sys
from providers.media.child import ask

async def progress(_):
    print("working", flush=True)

work = pathlib.Path(sys.argv[1])
asyncio.run(ask("tests.media.children", {"do": "sleep"}, work=work, limit_seconds=60, progress=progress))
"""


def test_a_child_dies_when_its_asker_is_killed(tmp_path):
    """Even kill -9, which lets nobody clean up, leaves neither process nor files."""
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, "-c", PARENT, str(work)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"working\n"
        orphans = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()

    _, alive = psutil.wait_procs(orphans, timeout=10)
    assert (len(orphans), alive, work.exists()) == (1, [], False)
