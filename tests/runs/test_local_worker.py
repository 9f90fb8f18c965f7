"""Wake-ups inside a process: bounded, one at a time for each subject, and never lost while one is executed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from runs.queue import RUNS, LocalWorker, Queue


class Work:
    """Records the subjects it is called with, and ends when it is released."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.released = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, subject: str) -> None:
        self.subjects.append(subject)
        await self.released.wait()
        if self.error:
            raise self.error


def local_worker(work: Work, slots: int = 2) -> LocalWorker:
    return LocalWorker({"advance": work, "reconcile": work}, slots)


async def test_a_wakeup_during_the_work_repeats_it_once() -> None:
    """The work may have read its rows before the event behind the second and third wake-up."""
    work = Work()
    local = local_worker(work)
    assert local.start("advance", "a")
    await asyncio.sleep(0)
    assert [local.start("advance", "a") for _ in range(3)] == [True, True, True]
    work.released.set()
    await local.stop(1)

    assert work.subjects == ["a", "a"]


async def test_work_beyond_the_slots_goes_to_the_queue() -> None:
    """Another process, or this one later, executes it as a job."""
    work, queue = Work(), Queue()
    queue.local = local_worker(work)
    for run_id in ("a", "b", "c"):
        queue.advance(run_id)

    assert queue._pending.get_nowait() == (RUNS, "advance", "c")
    assert queue._pending.empty()
    work.released.set()
    await queue.local.stop(1)
    assert work.subjects == ["a", "b"]


async def test_a_failure_is_logged_and_frees_the_slot(caplog: pytest.LogCaptureFixture) -> None:
    """The sweeper repeats the work; the process goes on."""
    work = Work()
    work.error = RuntimeError("broken")
    work.released.set()
    local = local_worker(work, slots=1)
    local.start("advance", "a")
    await local.stop(1)

    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert local.start("advance", "b")
    await local.stop(1)


async def test_a_stop_cancels_work_that_does_not_end() -> None:
    """It waits for the given time only."""
    work = Work()
    local = local_worker(work)
    local.start("advance", "a")
    await asyncio.sleep(0)
    await local.stop(0.01)

    assert work.subjects == ["a"]
    assert not local._running
