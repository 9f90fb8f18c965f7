"""Painters: two processes that paint clips, so that the server always has time to answer."""

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from sandbox.orders import Order

COUNT = 2


class Painters:
    """Paints at most COUNT clips at once; the processes start with the first clip."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(COUNT)
        self._pool: ProcessPoolExecutor | None = None

    @property
    def free(self) -> asyncio.Semaphore:
        """To be held while painting."""
        return self._free

    async def paint(self, order: Order, path: Path) -> None:
        """Paints one clip. A painter that was killed is replaced, and the clip begun again, once."""
        try:
            await self._paint(order, path)
        except BrokenProcessPool:
            self.close()
            await self._paint(order, path)

    async def _paint(self, order: Order, path: Path) -> None:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(COUNT, mp_context=spawn, initializer=_live_as_long_as_the_server)
        await asyncio.get_running_loop().run_in_executor(self._pool, _paint, order, path)

    def close(self) -> None:
        """Sends the painters home; what they are painting is begun again after a restart."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _paint(order: Order, path: Path) -> None:
    from sandbox.clips import paint  # only the painters load what they paint with

    paint(order, path)


def _live_as_long_as_the_server() -> None:
    """A killed server cannot stop its painters, so each of them watches it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_server, daemon=True).start()


def _leave_with_the_server() -> None:
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        os._exit(1)
