"""Video service: orders are charged, rendered, finished and reported by webhook; a restart resumes open jobs."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sandbox.catalogue import VideoOrder
from sandbox.clip_spec import ClipSpec
from sandbox.faults import FaultQueue
from sandbox.render_pool import RenderPool
from sandbox.store import Row, Store
from sandbox.webhook_sender import WebhookSender

log = logging.getLogger(__name__)

DEFAULT_CONTENT_TTL_SECONDS = 3600.0
SLOW_JOB_SECONDS = 8.0
TERMINAL_STATUSES = ("completed", "failed")
#: The vendors and planned failures that are charged; all others are refunded.
CHARGED_FAILURES = (("replicate", "canceled"), ("kling", "charged"))

NEWEST_FIRST = """
SELECT * FROM known_videos WHERE (? IS NULL OR number < (SELECT number FROM videos WHERE id = ?)) AND vendor = ?
ORDER BY number DESC LIMIT ?
"""
OLDEST_FIRST = NEWEST_FIRST.replace("number <", "number >").replace("DESC", "ASC")

ERROR_MESSAGES = {"moderation_blocked": "Your request was blocked by our moderation system."}


@dataclass(frozen=True)
class PlannedOutcome:
    """Outcome of a video job, decided when the video is created so that a restart does not change it."""

    error_code: str | None = None
    min_seconds: float = 0.0
    silent: bool = False
    content_fault: str | None = None
    is_lost: bool = False
    #: The vendor with a contract of its own that made the video, and what it remembers of the request.
    vendor: str = ""
    task: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Video:
    """Current state of a video."""

    id: str
    model: str
    prompt: str
    seconds: str
    size: str
    status: str
    created_at: float
    completed_at: float | None
    expires_at: float | None
    error_code: str | None
    error_message: str | None
    outcome: PlannedOutcome

    @property
    def progress(self) -> int:
        """Return the progress in percent: the renderer reports none while it works."""
        return {"in_progress": 50, "completed": 100}.get(self.status, 0)


class VideoService:
    """Video jobs and their files, independent of HTTP."""

    def __init__(self, store: Store, faults: FaultQueue, sender: WebhookSender, pool: RenderPool) -> None:
        self._store, self._faults, self._sender, self._pool = store, faults, sender, pool
        #: Called in the transaction of each change of a video, by the vendor of the video.
        self.listeners: dict[str, Callable[[Video], None]] = {"": self._announce_end}
        self._jobs: set[asyncio.Task[None]] = set()
        self._folder = store.folder / "videos"
        self._folder.mkdir(exist_ok=True)

    def resume(self) -> None:
        """Start the jobs that were not finished when the server stopped."""
        sql = "SELECT id FROM videos WHERE status NOT IN (?, ?) ORDER BY number"
        for row in self._store.fetch_all(sql, *TERMINAL_STATUSES):
            self._start_job(row["id"])

    async def close(self) -> None:
        """Cancel the running jobs; `resume` starts them again."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        self._pool.close()

    def create(self, order: VideoOrder, *, video_id: str = "", vendor: str = "", **task: Any) -> Video:
        """Store a video and its charge in one transaction, and start its job."""
        video_id, now = video_id or f"video_{secrets.token_hex(16)}", time.time()
        outcome = json.dumps(asdict(replace(self._plan_outcome(order.prompt), vendor=vendor, task=task)))
        if order.image:
            (self._folder / f"{video_id}.image").write_bytes(order.image)
        with self._store.transaction():
            known = {"prompt": order.prompt, "model": order.model, "seconds": order.seconds, "size": order.size}
            self._store.insert("videos", id=video_id, **known, status="queued", created_at=now, outcome=outcome)
            self._store.insert("charges", video_id=video_id, prompt=order.prompt, usd=order.price_usd, at=now)
            video = self._announce(video_id)
        self._sender.wake()
        self._start_job(video_id)
        return video

    def find(self, video_id: str) -> Video | None:
        """Return a video, or None if it is unknown, deleted or lost."""
        row = self._store.fetch_one("SELECT * FROM known_videos WHERE id = ?", video_id)
        return _parse_video(row) if row is not None else None

    def list_page(
        self, limit: int, after: str | None, *, newest_first: bool = True, vendor: str = ""
    ) -> tuple[Sequence[Video], bool]:
        """Return the videos that follow the video `after` in creation order, and whether there are more."""
        sql = NEWEST_FIRST if newest_first else OLDEST_FIRST
        rows = self._store.fetch_all(sql, after, after, vendor, limit + 1)
        return [_parse_video(row) for row in rows[:limit]], len(rows) > limit

    def mark_lost(self, video: Video) -> None:
        """Make a video unknown to all later requests, like a server that lost its in-memory state."""
        sql = "UPDATE videos SET outcome = json_set(outcome, '$.is_lost', json('true')) WHERE id = ?"
        self._store.execute(sql, video.id)

    def clip_path(self, video: Video) -> Path:
        """Return the path of the MP4 file."""
        return self._folder / f"{video.id}.mp4"

    def _plan_outcome(self, prompt: str) -> PlannedOutcome:
        min_seconds = float(self._store.get_setting("min_job_seconds", "0"))
        if slow := self._faults.consume("slow"):
            min_seconds = max(min_seconds, float(slow["seconds"]))
        if "#slow" in prompt:
            min_seconds = max(min_seconds, SLOW_JOB_SECONDS)
        error_code = (self._faults.consume("fail") or {}).get("code")
        if "#moderation_blocked" in prompt:
            error_code = "moderation_blocked"
        elif "#fail" in prompt:
            error_code = error_code or "generation_failed"
        content_fault = next((word for word in ("truncated", "html") if f"#{word}" in prompt), None)
        return PlannedOutcome(error_code, min_seconds, "#silent" in prompt, content_fault)

    def _start_job(self, video_id: str) -> None:
        job = asyncio.create_task(self._run_job(video_id))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _run_job(self, video_id: str) -> None:
        async with self._pool.slots:
            with self._store.transaction():
                if not self._store.execute("UPDATE videos SET status = 'in_progress' WHERE id = ?", video_id):
                    return
                video = self._announce(video_id)
            self._sender.wake()
            if video.outcome.error_code is None and not self.clip_path(video).exists():
                width, height = (int(n) for n in video.size.split("x"))
                image = self._folder / f"{video_id}.image"
                start = str(image) if image.exists() else ""
                spec = ClipSpec(video.prompt, int(video.seconds), width, height, video.outcome.silent, start)
                try:
                    await self._pool.render(spec, self.clip_path(video))
                except Exception:  # any rendering error must end the job as failed, the client polls it
                    log.exception("Rendering of %s failed", video_id)
                    video = replace(video, outcome=replace(video.outcome, error_code="generation_failed"))
        await asyncio.sleep(max(0.0, video.created_at + video.outcome.min_seconds - time.time()))
        self._finish_job(video)

    def _finish_job(self, video: Video) -> None:
        now = time.time()
        ttl = float(self._store.get_setting("content_ttl_seconds", str(DEFAULT_CONTENT_TTL_SECONDS)))
        error_code = video.outcome.error_code
        with self._store.transaction():
            if error_code is None:
                sql = "UPDATE videos SET status = 'completed', completed_at = ?, expires_at = ? WHERE id = ?"
                self._store.execute(sql, now, now + ttl, video.id)
            else:
                message = ERROR_MESSAGES.get(error_code, "The video could not be generated.")
                sql = "UPDATE videos SET status = 'failed', error_code = ?, error_message = ? WHERE id = ?"
                self._store.execute(sql, error_code, message, video.id)
                if video.outcome.vendor and (video.outcome.vendor, error_code) not in CHARGED_FAILURES:
                    self._store.execute("UPDATE charges SET usd = 0 WHERE video_id = ?", video.id)  # refunded
            self._announce(video.id)
        self._sender.wake()

    def _announce(self, video_id: str) -> Video:
        """Report a change of a video to the listener of its vendor, and return the video."""
        video = _parse_video(self._store.fetch_all("SELECT * FROM videos WHERE id = ?", video_id)[0])
        self.listeners[video.outcome.vendor](video)
        return video

    def _announce_end(self, video: Video) -> None:
        if video.status in TERMINAL_STATUSES:
            self._sender.enqueue_event(video.id, f"video.{video.status}")


def _parse_video(row: Row) -> Video:
    known = {each.name: row[each.name] for each in fields(Video)}
    return Video(**known | {"outcome": PlannedOutcome(**json.loads(row["outcome"]))})
