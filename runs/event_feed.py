"""The feed of the event streams: one query of this process finds the runs and chats with news, for all streams."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from runs.errors import TooManyStreams
from storage import runs as table
from storage.database import Database, DatabaseError

POLL_INTERVAL_SECONDS = 0.3
MAX_STREAMS_PER_KEY = 32


class EventFeed:
    """Wakes the event streams of this process while `poll` is repeated."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._streams: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._streams_of_key: Counter[str] = Counter()
        self._known: dict[UUID, str | None] = {}

    @contextmanager
    def follow(self, run_id: UUID, key_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the run, or the thread of a chat session, has news.

        Raises TooManyStreams beyond the limit of the key.
        """
        if self._streams_of_key[key_id] >= MAX_STREAMS_PER_KEY:
            raise TooManyStreams(f"An API key can have {MAX_STREAMS_PER_KEY} event streams open. Close one of them.")
        changed = asyncio.Event()
        self._streams_of_key[key_id] += 1
        self.add_runs(changed, [run_id])
        try:
            yield changed
        finally:
            self._streams_of_key -= Counter([key_id])
            for each, streams in [*self._streams.items()]:
                streams.discard(changed)
                if not streams:
                    del self._streams[each]

    def add_runs(self, changed: asyncio.Event, run_ids: Iterable[UUID]) -> None:
        """Let the event be set also when these runs have new events, until its stream ends."""
        for run_id in run_ids:
            self._streams[run_id].add(changed)

    @property
    def stream_count(self) -> int:
        """Return how many streams are open."""
        return self._streams_of_key.total()

    async def poll(self) -> None:
        """Wake the streams whose runs have new events."""
        newest: dict[UUID, str | None] = {}
        try:
            if self._streams:
                newest = await table.newest_changes(self._db, self._streams)
        except DatabaseError:
            # Each stream queries the database itself, and ends with its error.
            newest = dict.fromkeys(self._streams, "unavailable")
        for run_id, seq in newest.items():
            if self._known.get(run_id) != seq:
                for changed in self._streams.get(run_id, ()):
                    changed.set()
        self._known = newest
