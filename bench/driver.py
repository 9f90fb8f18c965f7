"""The person and the video vendor of one product process: starts runs, approves at the gates, and sends webhooks."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from standardwebhooks import Webhook

from bench.http_client import Client
from bench.options import API_KEY, PROJECT, WEBHOOK_SECRET
from bench.stage import Observer, Program
from providers.orders import OrderKey

WATCH_SECONDS = 0.005
GATES = {"awaiting_ideation_approval": "ideation", "awaiting_publish_approval": "publish"}
ENDED = ("completed", "failed")
WEBHOOK = Webhook(WEBHOOK_SECRET)
BRIEF = "A quiet film about rain on a roof at dusk"


@dataclass
class Timeline:
    """The times of one run, by the monotonic clock that all processes share."""

    started: float
    approved: dict[str, float] = field(default_factory=dict)
    created: list[float] = field(default_factory=list)
    announced: list[float] = field(default_factory=list)
    rendering: float = 0.0
    ended: float = 0.0
    status: str = ""

    @property
    def create_seconds(self) -> list[float]:
        """Return the time from the approval of the ideas to the vendor's create of each clip."""
        return [at - self.approved["ideation"] for at in self.created]

    @property
    def render_start_seconds(self) -> float:
        """Return the time from the last webhook to the start of the render."""
        return self.rendering - max(self.announced)

    @property
    def own_seconds(self) -> float:
        """Return the time from start to end without that of the vendor: from the last create to the last webhook."""
        return self.ended - self.started - (max(self.announced) - max(self.created))


class Driver:
    """Drives runs of a product process. Use it as an async context manager.

    `announces` decides by the ids of run and task whether a webhook is sent for a clip; `last_gate` is the gate at
    which runs are left without a decision.
    """

    def __init__(
        self,
        product: Program,
        observer: Observer,
        *,
        clip_seconds: float = 0.1,
        announces: Callable[[str, str], bool] = lambda *_: True,
        last_gate: str = "",
    ) -> None:
        self.product, self.observer = product, observer
        self.client = Client(product.url, {"x-api-key": API_KEY})
        self.timelines: dict[str, Timeline] = {}
        self.open: dict[str, asyncio.Future[None]] = {}
        self._clip_seconds, self._announces, self._last_gate = clip_seconds, announces, last_gate
        self._decided: set[tuple[str, str]] = set()
        self._renders: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for work in (self._watch(), self._listen()):
            self._start(work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.client.close()

    async def start_run(self) -> str:
        """Start a run and return its id."""
        at = time.monotonic()
        answer = await self.client.post("/v1/runs/start", {"project": PROJECT, "brief": BRIEF})
        run_id: str = answer["run_id"]
        self.timelines[run_id] = Timeline(at)
        self.open[run_id] = asyncio.get_running_loop().create_future()
        return run_id

    async def finish(self, run_id: str) -> Timeline:
        """Wait until a run has ended, or waits at the last gate."""
        await self.open[run_id]
        del self.open[run_id]
        return self.timelines[run_id]

    async def run(self, count: int, *, at_once: int) -> list[Timeline]:
        """Run so many runs, `at_once` at a time. Raises RuntimeError if one failed."""
        slots = asyncio.Semaphore(at_once)

        async def one() -> Timeline:
            async with slots:
                return await self.finish(await self.start_run())

        timelines = await asyncio.gather(*(one() for _ in range(count)))
        if failed := [each for each in timelines if each.status == "failed"]:
            raise RuntimeError(f"{len(failed)} of {count} runs failed; the log of the product is above.")
        return timelines

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            for waiting in self.open.values():
                if not waiting.done():
                    waiting.set_exception(error)

    async def _watch(self) -> None:
        """Decide at open gates and report ended runs."""
        query = "select id::text, status, review ->> 'digest' as digest from runs where id = any(%s::uuid[])"
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            waiting = [run_id for run_id, ended in self.open.items() if not ended.done()]
            for row in await self.observer.rows(query, waiting) if waiting else []:
                self._react(row["id"], row["status"], row["digest"])

    def _react(self, run_id: str, status: str, digest: str) -> None:
        gate = GATES.get(status, "")
        if status in ENDED or (gate and gate == self._last_gate):
            timeline = self.timelines[run_id]
            timeline.ended, timeline.status = time.monotonic(), status
            self.open[run_id].set_result(None)
        elif gate and (run_id, gate) not in self._decided:
            self._decided.add((run_id, gate))
            self._start(self._approve(run_id, gate, digest))

    async def _approve(self, run_id: str, gate: str, digest: str) -> None:
        self.timelines[run_id].approved[gate] = time.monotonic()
        await self.client.post(f"/v1/runs/{run_id}/approve", {"gate": gate, "approved": True, "digest": digest})

    async def _listen(self) -> None:
        """Read what the vendors report, and send the webhooks of the video vendor."""
        while event := await self.product.output():
            match event:
                case {"kind": "clip", "event": "submit", "key": key, "task": task, "at": at}:
                    run_id = OrderKey.parse(key).run_id
                    if timeline := self.timelines.get(run_id):
                        timeline.created.append(at)
                    if self._announces(run_id, task):
                        self._start(self._announce(run_id, task))
                case {"kind": "render", "event": "submit", "key": key, "task": task}:
                    self._renders[task] = OrderKey.parse(key).run_id
                case {"kind": "render", "event": "poll", "task": task, "at": at}:
                    timeline = self.timelines.get(self._renders.pop(task, ""))
                    if timeline and not timeline.rendering:
                        timeline.rendering = at

    async def _announce(self, run_id: str, task: str) -> None:
        await asyncio.sleep(self._clip_seconds)
        body, headers = webhook(task)
        if timeline := self.timelines.get(run_id):
            timeline.announced.append(time.monotonic())
        with suppress(ConnectionError):
            await self.client.request("POST", "/v1/webhooks/sora", body, headers)


def webhook(task: str) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a signed webhook about this video."""
    webhook_id, at = f"msg_{uuid4().hex}", datetime.now(UTC)
    event = {"id": f"evt_{uuid4().hex}", "object": "event", "type": "video.completed", "data": {"id": task}}
    body = json.dumps(event)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": WEBHOOK.sign(webhook_id, at, body),
    }
    return body.encode(), headers
