"""Wake-ups: work in the slots of this process, or due rows and a notification for the processes that have a worker."""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from providers.orders import OrderKey
from storage.database import DATABASE_UNAVAILABLE, Database
from storage.locks import LockLost
from storage.runs import WAKEUP_TIMEOUT
from storage.wakeups import make_due
from telemetry.logs import identified, log_outage
from telemetry.traces import span

log = logging.getLogger(__name__)

Work = Callable[[str], Awaitable[None]]
Claim = Callable[[int], Awaitable[list[str]]]
Loop = tuple[Callable[[], Awaitable[object]], float]

#: The queues: driving runs, reconciling orders, and rendering, which uses the cores of the machine.
RUNS, ORDERS, RENDERS = "runs", "orders", "renders"
#: Further wake-ups of a queue are dropped: their rows are due soon, for any process.
MAX_WAITING = 100
#: Work that failed after so long has succeeded in between.
NEW_FAILURE_AFTER_SECONDS = 60.0


class LocalQueue:
    """Work on subjects: on so many at once, on each once at a time, in the order of their wake-ups.

    Due rows are claimed for free slots only, so that processes share them and none waits for a slot of another one.
    """

    def __init__(self, work: Work, claim: Claim, slots: int, worker_id: str = "") -> None:
        self._work, self._claim, self._slots, self._worker_id = work, claim, slots, worker_id
        self.running: dict[str, asyncio.Task[None]] = {}
        #: Subjects without a slot, or to work on again, with the time of their wake-up.
        self.waiting: dict[str, float] = {}
        self.claim_requested = asyncio.Event()
        self._reserved = 0  # slots that are free for due rows only
        self._is_behind = self._is_turn_of_due_row = False  # behind: rows may be due that were not claimed

    def start(self, subject: str) -> None:
        """Start the work when there is a slot, again if it is running now: it may have read its rows."""
        if len(self.waiting) < MAX_WAITING:
            self.waiting.setdefault(subject, time.monotonic())
            self._fill()
        else:
            self._is_behind = True

    async def claim_due(self) -> None:
        """Wait for a request, and start due rows in the free slots."""
        await self.claim_requested.wait()
        self.claim_requested.clear()
        self._reserved = free = self._slots - len(self.running)
        try:
            due = await self._claim(free) if free else []
            self._is_behind = len(due) == free
            for subject in due:
                if subject in self.running:
                    self.start(subject)
                else:
                    self._run(subject)
        finally:
            self._reserved = 0
            self._fill()

    def _run(self, subject: str) -> None:
        self.waiting.pop(subject, None)
        # Not in the context of the request or of other work that woke it.
        self.running[subject] = asyncio.create_task(self._execute(subject), context=contextvars.Context())

    async def _execute(self, subject: str) -> None:
        with identified(subject, worker=self._worker_id):
            try:
                with span("order" if ":" in subject else "advance"):
                    await self._work(subject)
            except Exception as error:
                log_failure(error)
                self._is_behind = False  # a process that may not be able to work claims no more before the next sweep
            finally:
                del self.running[subject]
                if subject in self.waiting:
                    self.waiting[subject] = time.monotonic()
                self._fill()

    def _fill(self) -> None:
        """Use the free slots. While rows may be due, every other one is for such a row: neither side starves."""
        while len(self.running) + self._reserved < self._slots:
            subject = next((each for each in self.waiting if each not in self.running), None)
            if self._is_behind and (self._is_turn_of_due_row or subject is None):
                self._is_behind = self._is_turn_of_due_row = False
                self._reserved += 1
                self.claim_requested.set()
            elif subject is None:
                return
            elif time.monotonic() - self.waiting[subject] < WAKEUP_TIMEOUT.total_seconds():
                self._is_turn_of_due_row = True
                self._run(subject)
            else:  # its row is due, and another process may have claimed it
                del self.waiting[subject]
                self._is_behind = True


class LocalWorker:
    """The queues of this process. With `run_id` it takes the wake-ups of that run, and no other."""

    def __init__(self, queues: Mapping[str, LocalQueue], run_id: str | None = None) -> None:
        self.queues, self._run_id = queues, run_id

    def start(self, queue: str, subject: str) -> bool:
        """Take a wake-up. Return False if it is of another run."""
        is_taken = self._run_id in (None, subject.partition(":")[0])
        if is_taken:
            self.queues[queue].start(subject)
        return is_taken

    async def request_claims(self) -> None:
        """Have the queues claim what is due, as far as they have free slots."""
        for queue in self.queues.values():
            queue.claim_requested.set()

    async def stop(self, grace_seconds: float) -> None:
        """Let the running work end within this time, and cancel the rest."""
        for queue in self.queues.values():
            queue.waiting.clear()
        if tasks := [task for queue in self.queues.values() for task in queue.running.values()]:
            _, unfinished = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)


class Queue:
    """Passes wake-ups on after the transaction that caused them. One that is lost is replaced by the sweeper."""

    def __init__(self, db: Database) -> None:
        self._db = db
        #: The worker of this process, if it has one.
        self.local: LocalWorker | None = None
        self._pending_runs: set[str] = set()
        self._is_pending = asyncio.Event()

    def advance(self, run_id: str) -> None:
        """Wake the run with this id."""
        if not (self.local and self.local.start(RUNS, run_id)):
            self._pending_runs.add(run_id)
            self._is_pending.set()

    def reconcile(self, order_key: str) -> None:
        """Wake the order with this key, which is due: without a worker here, only the others are notified."""
        queue = RENDERS if OrderKey.parse(order_key).kind == "render" else ORDERS
        if not (self.local and self.local.start(queue, order_key)):
            self._is_pending.set()

    async def send(self) -> None:
        """Wait for wake-ups that are not for the worker of this process, and send them to the others together."""
        await self._is_pending.wait()
        self._is_pending.clear()
        run_ids, self._pending_runs = self._pending_runs, set()
        await make_due(self._db, run_ids)


def log_failure(error: Exception) -> None:
    """Log the error of background work: without a trace if the database is unavailable."""
    if isinstance(error, (*DATABASE_UNAVAILABLE, LockLost)):
        log_outage("database", error)
    else:
        log.error("background work failed and is repeated", exc_info=error)


@asynccontextmanager
async def repeating(*loops: Loop, worker_id: str = "") -> AsyncIterator[None]:
    """Repeat each work, with its pause in seconds, while the block runs."""
    running = {asyncio.create_task(_repeat(*loop, worker_id)) for loop in loops}
    try:
        yield
    finally:
        while running:  # a library may lose one cancellation in `asyncio.wait_for` of Python 3.11
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=1)


async def _repeat(work: Callable[[], Awaitable[object]], pause_seconds: float, worker_id: str) -> None:
    """Repeat the work until cancelled. No error ends the loop: the sweeper finds work that failed."""
    last = ""
    while True:
        started_at = time.monotonic()
        try:
            with identified(worker=worker_id):
                await work()
            last = ""
        except Exception as error:
            # An error that is repeated at once is logged the first time.
            if repr(error) != last or time.monotonic() - started_at > NEW_FAILURE_AFTER_SECONDS:
                log_failure(error)
            last = repr(error)
        await asyncio.sleep(pause_seconds)
