"""Process pool that renders clips, so that rendering does not block the server."""

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from sandbox.clip_spec import ClipSpec

PROCESS_COUNT = 2


class RenderPool:
    """Renders at most PROCESS_COUNT clips at once; the processes start with the first clip."""

    def __init__(self) -> None:
        #: What a caller must hold while rendering.
        self.slots = asyncio.Semaphore(PROCESS_COUNT)
        self._executor: ProcessPoolExecutor | None = None

    async def render(self, spec: ClipSpec, path: Path) -> None:
        """Render one clip to `path`; if a process was killed, replace it and render the clip again, once."""
        try:
            await self._render(spec, path)
        except BrokenProcessPool:
            self.close()
            await self._render(spec, path)

    async def _render(self, spec: ClipSpec, path: Path) -> None:
        if self._executor is None:
            spawn = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(PROCESS_COUNT, mp_context=spawn, initializer=_watch_server)
        await asyncio.get_running_loop().run_in_executor(self._executor, _render_in_process, spec, path)

    def close(self) -> None:
        """Stop the processes; clips they have not finished are rendered again after a restart."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


def _render_in_process(spec: ClipSpec, path: Path) -> None:
    from sandbox.clip_renderer import render_clip  # only the render processes load the rendering libraries

    render_clip(spec, path)


def _watch_server() -> None:
    """Exit with the server: a killed server cannot stop its render processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_server, daemon=True).start()


def _exit_with_server() -> None:
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        os._exit(1)
