"""Wake-ups: a call in a process that has a worker with a free slot, else a Procrastinate job in the same Postgres."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Literal

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from providers.orders import OrderKey
from storage.database import DATABASE_UNAVAILABLE, Pool

log = logging.getLogger(__name__)

Task = Literal["advance", "reconcile"]
Work = Callable[[str], Awaitable[None]]

#: The queues: driving runs, reconciling orders, and rendering, which uses the cores of the machine.
RUNS, ORDERS, RENDERS = "runs", "orders", "renders"


class LocalWorker:
    """Executes wake-ups in this process, up to so many of each task at once, one at a time for each subject.

    With `run_id` it takes every wake-up of that run, and no other.
    """

    def __init__(self, work: Mapping[Task, Work], slots: int = 0, *, run_id: str | None = None) -> None:
        self._work, self._slots, self._run_id = work, slots, run_id
        self._running: dict[tuple[Task, str], asyncio.Task[None]] = {}
        self._repeated: set[tuple[Task, str]] = set()

    def start(self, task: Task, subject: str) -> bool:
        """Start the work, or have work on the subject repeated once it ends. Return False if it is not taken."""
        name = (task, subject)
        if name in self._running:
            self._repeated.add(name)
        elif self._takes(task, subject):
            self._running[name] = asyncio.create_task(self._execute(task, subject))
        else:
            return False
        return True

    def _takes(self, task: Task, subject: str) -> bool:
        if self._run_id:
            return subject.partition(":")[0] == self._run_id
        # Renders always go through the queue, which bounds how many run at once.
        is_render = task == "reconcile" and OrderKey.parse(subject).kind == "render"
        return not is_render and sum(running == task for running, _ in self._running) < self._slots

    async def _execute(self, task: Task, subject: str) -> None:
        name = (task, subject)
        try:
            await run_logged(self._work[task], subject)
            while name in self._repeated:
                self._repeated.discard(name)
                await run_logged(self._work[task], subject)
        finally:
            del self._running[name]
            self._repeated.discard(name)

    async def stop(self, grace_seconds: float) -> None:
        """Let the work end within this time, and cancel the rest."""
        if tasks := list(self._running.values()):
            _, unfinished = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)


async def run_logged(work: Work, subject: str) -> None:
    """Run work on a subject. An error is logged, because the sweeper repeats the work."""
    try:
        await work(subject)
    except Exception as error:
        log_failure(error)


def log_failure(error: Exception) -> None:
    """Log the error of background work: without a trace if the database is unavailable."""
    # Procrastinate wraps the error of the database in its own.
    causes = (error, error.__cause__)
    unavailable = next((each for each in causes if isinstance(each, DATABASE_UNAVAILABLE)), None)
    if unavailable is None:
        log.error("background work failed and is repeated", exc_info=error)
    else:
        log.warning("database unavailable: %s", str(unavailable).partition("\n")[0])


class Queue:
    """Sends wake-ups after the transaction that caused them: inside it they would halve the request rate.

    A wake-up that is lost with its process is replaced by the sweeper.
    """

    def __init__(self) -> None:
        self.app = App(connector=PsycopgConnector())
        #: The worker of this process, if it has one.
        self.local: LocalWorker | None = None
        self._pending: asyncio.Queue[tuple[str, Task, str]] = asyncio.Queue()

    def advance(self, run_id: str) -> None:
        """Wake the run with this id."""
        if not (self.local and self.local.start("advance", run_id)):
            self._pending.put_nowait((RUNS, "advance", run_id))

    def reconcile(self, order_key: str) -> None:
        """Wake the order with this key."""
        if not (self.local and self.local.start("reconcile", order_key)):
            queue = RENDERS if OrderKey.parse(order_key).kind == "render" else ORDERS
            self._pending.put_nowait((queue, "reconcile", order_key))

    @asynccontextmanager
    async def sending(self, pool: Pool) -> AsyncIterator[None]:
        """Send wake-ups over connections of this pool while the block runs."""
        async with self.app.open_async(pool):
            sender = asyncio.create_task(self._send_all())
            try:
                yield
            finally:
                sender.cancel()
                with suppress(asyncio.CancelledError):
                    await sender

    async def _send_all(self) -> None:
        while True:
            queue, task, subject = await self._pending.get()
            try:
                # One queued wake-up per subject is enough: the worker that takes it reads everything.
                job = self.app.configure_task(task, queue=queue, queueing_lock=f"{task}:{subject}")
                await job.defer_async(subject=subject)
            except AlreadyEnqueued:
                pass
            except ConnectorException:
                log.warning("wake-up of %s was not sent; the sweeper will send another", subject, exc_info=True)
