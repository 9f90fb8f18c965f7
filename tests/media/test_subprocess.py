"""Media subprocesses are isolated, limited in time, and leave no processes or files."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from providers.base import ProviderError, Unavailable
from providers.media.subprocess_client import SubprocessDied, run_in_subprocess
from tests.media.fake_worker import media_subprocesses

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def run(action, work_dir, **options):
    options = {"limit_seconds": 30.0, **options}
    return run_in_subprocess("tests.media.fake_worker", {"action": action}, work_dir=work_dir, **options)


async def test_a_subprocess_inherits_no_secrets(tmp_path, monkeypatch):
    """Only the path and the locale of the environment are inherited."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    environment = await run("return environment", tmp_path)

    assert "sk-secret" not in json.dumps(environment)
    assert (environment["HOME"], environment["TMPDIR"]) == (str(tmp_path), str(tmp_path))


async def test_a_provider_error_is_raised_in_the_parent(tmp_path):
    """The code and the message of the error are preserved."""
    with pytest.raises(ProviderError, match="Not found") as raised:
        await run("raise ProviderError", tmp_path)

    assert raised.value.code == "not_found"


async def test_a_full_disk_is_temporary(tmp_path):
    """The clip is not blamed for it: the error is Unavailable and names the setting."""
    with pytest.raises(Unavailable, match=r"MYLOWARE_DATA_DIR: .*No space left on device") as raised:
        await run("fill the disk", tmp_path)

    assert raised.value.code == "disk_unwritable"


async def test_a_crash_is_reported(tmp_path):
    """An unexpected error would be the same in another attempt: it is raised with a code, not as an interruption."""
    with pytest.raises(ProviderError, match="RuntimeError") as raised:
        await run("crash", tmp_path)

    assert raised.value.code == "media_failed"


@pytest.mark.parametrize("action", ["run out of memory", "be killed"])
async def test_an_interruption_is_reported(action, tmp_path):
    """A subprocess without a result raises SubprocessDied: another attempt can succeed."""
    with pytest.raises(SubprocessDied):
        await run(action, tmp_path)


async def test_printed_output_is_not_a_message(tmp_path):
    """Output of libraries on standard output is ignored."""
    assert await run("print", tmp_path) == {"printed": True}


async def test_a_slow_subprocess_is_killed(tmp_path):
    """At the time limit the process is killed."""
    with pytest.raises(TimeoutError):
        await run("sleep", tmp_path, limit_seconds=1.0)

    assert media_subprocesses() == []


async def test_a_subprocess_is_killed_on_cancellation(tmp_path):
    """Cancellation waits until the process is killed."""
    started = asyncio.Event()

    async def progress(_):
        started.set()

    task = asyncio.create_task(run("sleep", tmp_path, progress=progress))
    await asyncio.wait_for(started.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert media_subprocesses() == []


PARENT = """
import asyncio, pathlib, sys
from providers.media.subprocess_client import run_in_subprocess

async def progress(_):
    print("working", flush=True)

work_dir = pathlib.Path(sys.argv[1])
asyncio.run(run_in_subprocess(
    "tests.media.fake_worker", {"action": "sleep"}, work_dir=work_dir, limit_seconds=60, progress=progress
))
"""


def test_a_subprocess_exits_when_its_parent_is_killed(tmp_path):
    """Even after kill -9 of the parent, neither a process nor a file remains."""
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    command = [sys.executable, "-c", PARENT, str(work_dir)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"working\n"
        orphans = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()

    _, alive = psutil.wait_procs(orphans, timeout=10)
    assert (len(orphans), alive, work_dir.exists()) == (1, [], False)
