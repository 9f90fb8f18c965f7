"""The turns under way in a process, and how one is listened to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from chat.session import StreamEvent, TurnResult
from providers.base import Unavailable

log = logging.getLogger(__name__)

TURN_TIMED_OUT = Unavailable("model_unavailable", "The answer took too long: ask again, for less.")


class TurnRunner:
    """The turns under way in this process. Each ends by itself, whether anybody listens or not."""

    #: How long a turn may take, in seconds: a model that never comes to its end must not hold a session.
    LONGEST = 300.0
    #: How long turns may take to end when the process is asked to stop, in seconds.
    GRACE = 10.0

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> TurnRunner:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.GRACE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def begin(self, turn: AsyncIterator[StreamEvent | TurnResult]) -> TurnStream:
        """Begin a turn in a task of its own; what is said in it can be heard."""
        heard = TurnStream()
        task = asyncio.create_task(self._run(turn, heard), name="turn")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return heard

    async def _run(self, turn: AsyncIterator[StreamEvent | TurnResult], heard: TurnStream) -> None:
        limit = asyncio.timeout(self.LONGEST)
        try:
            async with limit:
                async for said in turn:
                    heard.queue.put_nowait(said)
        except Exception as error:
            # Whoever listens raises it; when nobody does any more, the message was not answered, and is asked again.
            log.info("a turn ended with %r", error)
            heard.queue.put_nowait(TURN_TIMED_OUT if limit.expired() else error)


class TurnStream:
    """What is said in a turn, for one listener."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[StreamEvent | TurnResult | Exception] = asyncio.Queue()

    async def within(self, seconds: float | None) -> StreamEvent | TurnResult | None:
        """The next thing said; None when nothing is for so long. Raises what the turn raised."""
        try:
            said = await asyncio.wait_for(self.queue.get(), seconds)
        except TimeoutError:
            return None
        if isinstance(said, Exception):
            raise said
        return said

    async def turn(self) -> TurnResult:
        """The whole turn. Raises what it raised."""
        while True:
            said = await self.within(None)
            if isinstance(said, TurnResult):
                return said
