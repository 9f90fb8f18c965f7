"""Wake-ups as Procrastinate jobs in the same Postgres."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from providers.orders import OrderKey
from storage.database import Pool

Task = Literal["advance", "reconcile"]

log = logging.getLogger(__name__)

#: The queues: driving runs, reconciling orders, and rendering, which uses the cores of the machine.
RUNS, ORDERS, RENDERS = "runs", "orders", "renders"


class Queue:
    """Enqueues wake-ups after the transaction that caused them: inside it they would halve the request rate.

    A wake-up that is lost with its process is replaced by the sweeper.
    """

    def __init__(self) -> None:
        self.app = App(connector=PsycopgConnector())
        self._pending: asyncio.Queue[tuple[str, Task, str]] = asyncio.Queue()
        #: Work on the runs that this process advances, without jobs: see `run_own_worker`.
        self.own_work: Callable[[Task, str], None] | None = None
        self.own_runs: set[str] = set()

    def advance(self, run_id: str) -> None:
        """Wake the run with this id."""
        if self.own_work:
            self.own_runs.add(run_id)
        self._pending.put_nowait((RUNS, "advance", run_id))

    def reconcile(self, order_key: str) -> None:
        """Wake the order with this key."""
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
            if self.own_work and subject.partition(":")[0] in self.own_runs:
                self.own_work(task, subject)
                continue
            try:
                # One queued wake-up per subject is enough: the worker that takes it reads everything.
                job = self.app.configure_task(task, queue=queue, queueing_lock=f"{task}:{subject}")
                await job.defer_async(subject=subject)
            except AlreadyEnqueued:
                pass
            except ConnectorException:
                log.warning("wake-up of %s was not sent; the sweeper will send another", subject, exc_info=True)
