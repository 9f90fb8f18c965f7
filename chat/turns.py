"""Chat turns: their input and output, and a runner that streams them to a client."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self
from uuid import UUID

from chat.confirmations import PendingConfirmation
from providers.base import Unavailable
from storage.actors import RequestContext

log = logging.getLogger(__name__)

TURN_TIMED_OUT = Unavailable("model_unavailable", "The answer took too long: ask again, for less.")


@dataclass(frozen=True)
class ChatRequest:
    """A message of a person, which may start its session. Links in the answer start with `base_url`."""

    #: Without a session nothing is remembered, and only read-only tools are available.
    session_id: str | None
    message: str
    context: RequestContext
    is_new_session: bool = False
    #: The messages before it as (role, text), user or assistant, if the client sends them along; None if it never does.
    history: Sequence[tuple[str, str]] | None = None
    base_url: str = ""
    #: The run of the page that the person has open, if any.
    page_run_id: UUID | None = None


@dataclass(frozen=True)
class StreamEvent:
    """An event while a turn runs: `token` with a piece of the response, or `tool` with the name of a tool."""

    kind: Literal["token", "tool"]
    text: str


@dataclass(frozen=True)
class TurnResult:
    """The result of a turn. `tokens` are its input and output tokens; its thread does not keep the `notice`."""

    session_id: str | None
    response: str
    run_ids: list[str] = field(default_factory=list)
    pending: Sequence[PendingConfirmation] = ()
    tokens: tuple[int, int] = (0, 0)
    notice: str = ""


TurnEvent = StreamEvent | TurnResult
TurnEvents = AsyncIterator[TurnEvent]
#: Returns whether the client of a turn is gone.
IsAbandoned = Callable[[], Awaitable[bool]]


class TurnRunner:
    """Runs the turns of this process, by default to their end whether a client listens or not."""

    #: The limit of a turn, unless two answers of the model may take longer.
    MAX_TURN_SECONDS = 300.0
    #: How long turns may take to finish when the process stops.
    SHUTDOWN_GRACE_SECONDS = 10.0

    def __init__(self, answer_seconds: float = 0) -> None:
        self._seconds = max(self.MAX_TURN_SECONDS, 2 * answer_seconds)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.SHUTDOWN_GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def start(self, turn: TurnEvents, is_abandoned: IsAbandoned | None = None) -> "TurnStream":
        """Start a turn in its own task, and return the stream of its events. It ends early once `is_abandoned`."""
        stream = TurnStream()
        task = asyncio.create_task(self._run(turn, stream), name="turn")
        for each in (task, *([asyncio.create_task(_watch(task, stream, is_abandoned))] if is_abandoned else [])):
            self._tasks.add(each)
            each.add_done_callback(self._tasks.discard)
        return stream

    async def _run(self, turn: TurnEvents, stream: "TurnStream") -> None:
        limit = asyncio.timeout(self._seconds)
        try:
            async with limit:
                async for event in turn:
                    stream.queue.put_nowait(event)
                    stream.is_answered = isinstance(event, TurnResult)
        except asyncio.CancelledError:
            stream.queue.put_nowait(TURN_TIMED_OUT)  # the listener is gone, or waits no longer
            raise
        except Exception as error:
            # The listener raises it. Without a listener the message has no answer, and the client sends it again.
            log.info("turn failed: %r", error)
            stream.queue.put_nowait(TURN_TIMED_OUT if limit.expired() else error)


class TurnStream:
    """The events of a turn, for one listener."""

    def __init__(self) -> None:
        self.is_answered = False
        self.queue: asyncio.Queue[TurnEvent | Exception] = asyncio.Queue()

    async def next_event(self, timeout: float | None = None) -> TurnEvent | None:  # noqa: ASYNC109
        """Return the next event, the result being the last; None after `timeout` seconds. Raises the turn's error."""
        try:
            async with asyncio.timeout(timeout):
                event = await self.queue.get()
        except TimeoutError:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    async def result(self) -> TurnResult:
        """Wait for the result of the turn and return it. Raises the turn's error."""
        while not isinstance(event := await self.next_event(), TurnResult):
            pass
        return event


async def _watch(task: asyncio.Task[None], stream: TurnStream, is_abandoned: IsAbandoned) -> None:
    """Cancel the turn once it is abandoned before it has a result."""
    while not task.done() and not stream.is_answered:
        if await is_abandoned():
            task.cancel()
        await asyncio.wait([task], timeout=0.5)
