"""Videos: orders are charged, painted, finished and announced; a restart goes on where it was."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sandbox.catalogue import VideoOrder
from sandbox.faults import Faults
from sandbox.orders import Order
from sandbox.painters import Painters
from sandbox.store import Row, Store
from sandbox.webhooks import Courier

log = logging.getLogger(__name__)

KEEP_SECONDS = 3600.0
SLOW_SECONDS = 8.0
ENDED = ("completed", "failed")

NEWEST_FIRST = """
SELECT * FROM videos
WHERE (? IS NULL OR number < (SELECT number FROM videos WHERE id = ?)) AND NOT json_extract(fate, '$.lost')
ORDER BY number DESC LIMIT ?
"""
OLDEST_FIRST = NEWEST_FIRST.replace("number <", "number >").replace("DESC", "ASC")

MESSAGES = {"moderation_blocked": "Your request was blocked by our moderation system."}


@dataclass(frozen=True)
class Fate:
    """What will become of a video; settled when it is ordered, so that a restart changes nothing."""

    fail: str | None = None
    hold: float = 0.0
    silent: bool = False
    content: str | None = None
    lost: bool = False


@dataclass(frozen=True)
class Video:
    """One video as it stands."""

    id: str
    model: str
    prompt: str
    seconds: str
    size: str
    status: str
    created_at: float
    started_at: float | None
    completed_at: float | None
    expires_at: float | None
    error_code: str | None
    error_message: str | None
    fate: Fate

    @property
    def progress(self) -> int:
        """0..100. Nobody knows how far a painter is, so it is told by the clock."""
        if self.status == "completed":
            return 100
        if self.started_at is None or self.status == "failed":
            return 0
        expected = max(self.fate.hold, 0.4 * int(self.seconds))
        return min(99, int(100 * (time.time() - self.started_at) / expected))


class Videos:
    """The video service behind its HTTP face."""

    def __init__(self, store: Store, faults: Faults, courier: Courier, painters: Painters) -> None:
        self._store, self._faults, self._courier, self._painters = store, faults, courier, painters
        self._work: set[asyncio.Task[None]] = set()
        self._folder = store.folder / "videos"
        self._folder.mkdir(exist_ok=True)

    def resume(self) -> None:
        """Takes up what was not finished when the server last stopped."""
        for row in self._store.all("SELECT id FROM videos WHERE status NOT IN (?, ?) ORDER BY number", *ENDED):
            self._begin(row["id"])

    async def close(self) -> None:
        """Lays the work down; `resume` takes it up."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._painters.close()

    def accept(self, order: VideoOrder) -> Video:
        """Takes an order and charges for it, both at once."""
        video_id, now = f"video_{secrets.token_hex(16)}", time.time()
        fate = self._fate(order.prompt)
        with self._store.transaction():
            self._store.write(
                "INSERT INTO videos (id, model, prompt, seconds, size, status, created_at, fate)"
                " VALUES (?, ?, ?, ?, ?, 'queued', ?, ?)",
                *(
                    video_id,
                    order.model,
                    order.prompt,
                    order.seconds,
                    order.size,
                    now,
                    json.dumps(asdict(fate)),
                ),
            )
            self._store.write("INSERT INTO charges VALUES (?, ?, ?, ?)", video_id, order.prompt, order.usd, now)
        self._begin(video_id)
        video = self.find(video_id)
        assert video is not None  # noqa: S101 - it was just written
        return video

    def find(self, video_id: str) -> Video | None:
        """The video of that id, unless it was deleted or lost."""
        row = self._store.one("SELECT * FROM videos WHERE id = ?", video_id)
        video = _video(row) if row is not None else None
        return None if video is None or video.fate.lost else video

    def page(self, limit: int, after: str | None, newest_first: bool) -> tuple[Sequence[Video], bool]:
        """Videos in the order they came, from behind `after`, and whether there are more."""
        sql = NEWEST_FIRST if newest_first else OLDEST_FIRST
        rows = self._store.all(sql, after, after, limit + 1)
        return [_video(row) for row in rows[:limit]], len(rows) > limit

    def lose(self, video: Video) -> None:
        """Forgets a video as a server does that kept it in memory only."""
        self._store.write("UPDATE videos SET fate = json_set(fate, '$.lost', json('true')) WHERE id = ?", video.id)

    def delete(self, video: Video) -> None:
        """Removes a video and its files; its charge stays."""
        self._store.write("DELETE FROM videos WHERE id = ?", video.id)
        self.clip(video).unlink(missing_ok=True)
        self.still(video).unlink(missing_ok=True)

    def clip(self, video: Video) -> Path:
        """Where its MP4 is."""
        return self._folder / f"{video.id}.mp4"

    def still(self, video: Video) -> Path:
        """Where its thumbnail is."""
        return self._folder / f"{video.id}.webp"

    def _fate(self, prompt: str) -> Fate:
        hold = float(self._store.setting("pace", "0"))
        if slow := self._faults.take("slow"):
            hold = max(hold, float(slow["seconds"]))
        if "#slow" in prompt:
            hold = max(hold, SLOW_SECONDS)
        fail = (self._faults.take("fail") or {}).get("code")
        if "#moderation_blocked" in prompt:
            fail = "moderation_blocked"
        elif "#fail" in prompt:
            fail = fail or "generation_failed"
        content = next((word for word in ("truncated", "html") if f"#{word}" in prompt), None)
        return Fate(fail, hold, "#silent" in prompt, content)

    def _begin(self, video_id: str) -> None:
        task = asyncio.create_task(self._make(video_id))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _make(self, video_id: str) -> None:
        async with self._painters.free:
            sql = "UPDATE videos SET status = 'in_progress', started_at = coalesce(started_at, ?) WHERE id = ?"
            self._store.write(sql, time.time(), video_id)
            row = self._store.one("SELECT * FROM videos WHERE id = ?", video_id)
            if row is None:
                return
            video = _video(row)
            if video.fate.fail is None and not self.clip(video).exists():
                width, height = (int(n) for n in video.size.split("x"))
                order = Order(video.prompt, int(video.seconds), width, height, video.fate.silent)
                try:
                    await self._painters.paint(order, self.clip(video))
                except Exception:  # whatever went wrong, the one who waits has to be told
                    log.exception("%s could not be painted", video_id)
                    video = replace(video, fate=replace(video.fate, fail="generation_failed"))
        await asyncio.sleep(max(0.0, video.created_at + video.fate.hold - time.time()))
        self._finish(video)

    def _finish(self, video: Video) -> None:
        now = time.time()
        keep = float(self._store.setting("keep", str(KEEP_SECONDS)))
        with self._store.transaction():
            if video.fate.fail is None:
                sql = "UPDATE videos SET status = 'completed', completed_at = ?, expires_at = ? WHERE id = ?"
                self._store.write(sql, now, now + keep, video.id)
                self._courier.announce(video.id, "video.completed")
            else:
                message = MESSAGES.get(video.fate.fail, "The video could not be generated.")
                sql = "UPDATE videos SET status = 'failed', error_code = ?, error_message = ? WHERE id = ?"
                self._store.write(sql, video.fate.fail, message, video.id)
                self._courier.announce(video.id, "video.failed")
        self._courier.nudge()


def _video(row: Row) -> Video:
    fields = dict(row)
    del fields["number"]
    return Video(**fields | {"fate": Fate(**json.loads(row["fate"]))})
