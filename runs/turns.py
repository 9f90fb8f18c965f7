"""The turns under way in a process, and how one is listened to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from providers.base import Unavailable
from runs.talk import Said, Turn

log = logging.getLogger(__name__)

TOO_LONG = Unavailable("model_unavailable", "The answer took too long: ask again, for less.")


class Turns:
    """The turns under way in this process. Each ends by itself, whether anybody listens or not."""

    #: How long a turn may take, in seconds: a model that never comes to its end must not hold a session.
    LONGEST = 300.0
    #: How long turns may take to end when the process is asked to stop, in seconds.
    GRACE = 10.0

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Turns:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.GRACE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def begin(self, turn: AsyncIterator[Said | Turn]) -> Heard:
        """Begin a turn in a task of its own; what is said in it can be heard."""
        heard = Heard()
        task = asyncio.create_task(self._run(turn, heard), name="turn")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return heard

    async def _run(self, turn: AsyncIterator[Said | Turn], heard: Heard) -> None:
        limit = asyncio.timeout(self.LONGEST)
        try:
            async with limit:
                async for said in turn:
                    heard.queue.put_nowait(said)
        except Exception as error:
            # Whoever listens raises it; when nobody does any more, the message was not answered, and is asked again.
            log.info("a turn ended with %r", error)
            heard.queue.put_nowait(TOO_LONG if limit.expired() else error)


class Heard:
    """What is said in a turn, for one listener."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Said | Turn | Exception] = asyncio.Queue()

    async def within(self, seconds: float | None) -> Said | Turn | None:
        """The next thing said; None when nothing is for so long. Raises what the turn raised."""
        try:
            said = await asyncio.wait_for(self.queue.get(), seconds)
        except TimeoutError:
            return None
        if isinstance(said, Exception):
            raise said
        return said

    async def turn(self) -> Turn:
        """The whole turn. Raises what it raised."""
        while True:
            said = await self.within(None)
            if isinstance(said, Turn):
                return said
