"""Wake-ups on Procrastinate, in the same Postgres: who was told that something happened, and what for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from storage.database import Pool

log = logging.getLogger(__name__)

#: The queues: driving runs, looking after orders, and rendering, which takes the machine's cores.
RUNS, ORDERS, RENDERS = "runs", "orders", "renders"


class Queue:
    """Sends wake-ups after the fact, never inside the transaction that wrote it: that would halve what a door can
    take. One that is lost with its process is found by the sweeper.
    """

    def __init__(self) -> None:
        self.app = App(connector=PsycopgConnector())
        self._unsent: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    def advance(self, run_id: str) -> None:
        """The run may be able to go on."""
        self._unsent.put_nowait((RUNS, "advance", run_id))

    def reconcile(self, order: str) -> None:
        """There may be news of the order of this key."""
        queue = RENDERS if ":render:" in order else ORDERS
        self._unsent.put_nowait((queue, "reconcile", order))

    @asynccontextmanager
    async def sending(self, pool: Pool) -> AsyncIterator[None]:
        """Send wake-ups while the block runs, over connections of this pool."""
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
            queue, task, about = await self._unsent.get()
            try:
                # One waiting wake-up for each thing is enough: whoever takes it looks at everything.
                job = self.app.configure_task(task, queue=queue, queueing_lock=f"{task}:{about}")
                await job.defer_async(about=about)
            except AlreadyEnqueued:
                pass
            except ConnectorException:
                log.warning("a wake-up of %s was not sent; the sweeper will find it", about, exc_info=True)
