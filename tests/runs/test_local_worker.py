"""Wake-ups inside a process: bounded, one at a time for each subject, and never lost while one is executed."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from runs import queue
from runs.queue import MAX_WAITING, ORDERS, RUNS, LocalQueue, LocalWorker, repeating


class Work:
    """Records the subjects it is called with, and ends each call when it is released."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.released = asyncio.Event()
        self.error: Exception | None = None
        self.at_once = self.most_at_once = 0

    async def __call__(self, subject: str) -> None:
        self.subjects.append(subject)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.released.wait()
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.error:
            raise self.error


class DueRows:
    """Subjects that are due, for every queue that claims some of them."""

    def __init__(self, *subjects: str) -> None:
        self.subjects = list(subjects)
        self.limits: list[int] = []

    async def claim(self, limit: int) -> list[str]:
        self.limits.append(limit)
        claimed, self.subjects = self.subjects[:limit], self.subjects[limit:]
        return claimed


def local_queue(work: Work, slots: int = 2, due: DueRows | None = None) -> LocalQueue:
    return LocalQueue(work, (due or DueRows()).claim, slots)


@asynccontextmanager
async def claiming(*queues: LocalQueue) -> AsyncIterator[None]:
    """Have the queues claim due rows when they are requested to."""
    async with repeating(*((each.claim_due, 0.0) for each in queues)):
        yield


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(2_000):
        await asyncio.sleep(0)


async def test_a_wakeup_during_the_work_repeats_it_once() -> None:
    """The work may have read its rows before the event behind the second and third wake-up."""
    work = Work()
    local = local_queue(work)
    local.start("a")
    await asyncio.sleep(0)
    for _ in range(3):
        local.start("a")
    work.released.set()
    await settle()

    assert work.subjects == ["a", "a"]


async def test_work_beyond_the_slots_waits_and_runs_once() -> None:
    """However often it is requested, in the order of the first requests."""
    work = Work()
    local = local_queue(work)
    for run_id in ("a", "b", "c", "d", "c", "d"):
        local.start(run_id)
    await settle()
    assert work.subjects == ["a", "b"]
    work.released.set()
    await settle()

    assert work.subjects == ["a", "b", "c", "d"]
    assert work.most_at_once == 2


async def test_a_wakeup_beyond_those_that_wait_is_left_to_the_sweeper() -> None:
    """Memory stays bounded; due rows are claimed as soon as a slot is free."""
    work, due = Work(), DueRows("dropped")
    local = local_queue(work, slots=1, due=due)
    for number in range(MAX_WAITING + 2):
        local.start(str(number))
    async with claiming(local):
        work.released.set()
        await settle()

    assert sorted(Counter(work.subjects).values()) == [1] * (MAX_WAITING + 2)
    assert {"dropped", str(MAX_WAITING)} <= set(work.subjects)
    assert str(MAX_WAITING + 1) not in work.subjects


async def test_a_wakeup_that_waited_too_long_is_left_to_the_sweeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is due by then, and another process may have claimed it."""
    work, due = Work(), DueRows("c")
    local = local_queue(work, slots=1, due=due)
    local.start("a")
    monkeypatch.setattr(queue, "WAKEUP_TIMEOUT", timedelta(0))
    local.start("b")
    async with claiming(local):
        work.released.set()
        await settle()

    assert work.subjects == ["a", "c"]


async def test_due_rows_beyond_the_slots_are_left_to_others() -> None:
    """A process claims what it can start, and more as soon as it can: nobody has to request it again."""
    due = DueRows(*map(str, range(20)))
    works = [Work(), Work()]
    queues = [local_queue(work, slots=3, due=due) for work in works]
    async with claiming(*queues):
        for each in queues:
            each.claim_requested.set()
        await settle()
        assert [len(work.subjects) for work in works] == [3, 3]
        assert len(due.subjects) == 14
        works[0].released.set()
        await settle()

    assert len(works[0].subjects) == 17
    assert not due.subjects
    assert max(work.most_at_once for work in works) == 3
    assert sorted(works[0].subjects + works[1].subjects, key=int) == [str(number) for number in range(20)]


async def test_slots_hold_while_a_claim_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is claimed has its slots, whatever ends and is woken in between."""
    work, due, answered = Work(), DueRows("due 1", "due 2"), asyncio.Event()

    async def claim(limit: int) -> list[str]:
        await answered.wait()
        return await due.claim(limit)

    monkeypatch.setattr(queue, "MAX_WAITING", 3)
    local = LocalQueue(work, claim, 3)
    local.start("a")
    async with claiming(local):
        local.claim_requested.set()
        await settle()
        for subject in ("b", "c", "d", "e"):
            local.start(subject)
        work.released.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        work.released.clear()
        await settle()
        answered.set()
        await settle()
        work.released.set()
        await settle()

    assert due.limits[0] == 2
    assert set(work.subjects) == {"a", "b", "c", "d", "due 1", "due 2"}
    assert work.most_at_once == 3


async def test_neither_wakeups_nor_due_rows_starve() -> None:
    """Every other slot that becomes free is for a due row, the others are for what waits in the process."""
    work, due = Work(), DueRows(*(f"due {number}" for number in range(20)))
    local = local_queue(work, slots=1, due=due)
    for number in range(20):
        local.start(f"local {number}")
    async with claiming(local):
        local.claim_requested.set()
        await settle()
        work.released.set()
        await settle()

    assert Counter(subject.split()[0] for subject in work.subjects[:20])["due"] in (9, 10, 11)
    assert len(set(work.subjects)) == len(work.subjects) == 40


async def test_a_process_that_cannot_work_claims_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """Until the next sweep: others can have the rows."""
    work, due = Work(), DueRows(*map(str, range(20)))
    work.error = RuntimeError("broken")
    work.released.set()
    local = local_queue(work, slots=2, due=due)
    async with claiming(local):
        local.claim_requested.set()
        await settle()

    assert len(due.subjects) == 18
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_a_failure_frees_the_slot(caplog: pytest.LogCaptureFixture) -> None:
    """The sweeper repeats the work; the process goes on."""
    work = Work()
    work.error = RuntimeError("broken")
    work.released.set()
    local = local_queue(work, slots=1)
    for subject in ("a", "b"):
        local.start(subject)
    await settle()

    assert work.subjects == ["a", "b"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_a_stop_cancels_work_that_does_not_end() -> None:
    """It waits for the given time only, and starts nothing that waits."""
    work = Work()
    local = LocalWorker({RUNS: local_queue(work, slots=1)})
    for subject in ("a", "b"):
        local.start(RUNS, subject)
    await asyncio.sleep(0)
    await local.stop(0.01)

    assert work.subjects == ["a"]
    assert not local.queues[RUNS].running


async def test_the_worker_of_one_run_takes_no_other() -> None:
    """Neither the run nor its orders."""
    work = Work()
    local = LocalWorker({RUNS: local_queue(work), ORDERS: local_queue(work)}, "one")

    assert [local.start(RUNS, run_id) for run_id in ("one", "other")] == [True, False]
    assert [local.start(ORDERS, f"{run_id}:clip:1:1") for run_id in ("one", "other")] == [True, False]
    work.released.set()
    await local.stop(1)
    assert work.subjects == ["one", "one:clip:1:1"]
