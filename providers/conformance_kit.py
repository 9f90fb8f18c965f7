"""Check that a server of clips keeps the contract that its adapter expects: without money, or with one clip."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal
from uuid import uuid4

import httpx

from providers.base import Json, OutcomeUnknown, ProviderError, Unavailable, default_pause
from providers.exchange_record import ExchangeRecorder
from providers.results import Failed, FileMissing, NotFound, Pending, PollResult, Succeeded
from providers.video_provider import VideoProvider
from providers.webhooks import Secret, sign

#: A key that no service gives out, in the form of those that have two parts.
WRONG_KEY = "wrong-key:wrong-secret"
MAX_WAIT, MAX_POLLS_WITHOUT_ANSWER = timedelta(minutes=30), 10
LENGTH_TOLERANCE_SECONDS = 0.5

Outcome = Literal["passed", "failed", "skipped"]
Answer = PollResult | Unavailable


@dataclass(frozen=True)
class StepResult:
    """The outcome of a step, and why; of a measured clip also its facts."""

    step: str
    outcome: Outcome
    reason: str
    facts: Json = field(default_factory=dict)


@dataclass
class ConformanceKit:
    """The steps for a server, whose adapter `open_provider` returns for an API key, with one clip for `usd`.

    The client of the adapter is recorded by `recorder`. `webhook_url` receives webhooks about the clips of the server.
    """

    open_provider: Callable[[str], VideoProvider]
    api_key: str
    request: Json
    usd: Decimal
    recorder: ExchangeRecorder
    folder: Path
    webhook_url: str | None = None
    webhook_secrets: Sequence[Secret] = ()
    show_progress: Callable[[Answer], None] = lambda _: None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    key: str = field(default_factory=lambda: f"{uuid4()}:clip:1:1")
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.provider, self.results = self.open_provider(self.api_key), list[StepResult]()
        self.task_id: str | None = None
        self.is_unknown = False

    def write_record(self, path: Path) -> None:
        """Write the order, the results so far and the exchange, without what is private. Raises Unavailable."""
        order = {"request": self.request, "key": self.key, "since": self.since.isoformat(), "usd": str(self.usd)}
        record = {"provider": self.provider.name, "order": order, "results": list(map(asdict, self.results))}
        self.recorder.write(path, record, [self.api_key], self.request["prompt"])

    async def run(self, *, spend: bool) -> AsyncIterator[StepResult]:
        """Yield the results of the steps that cost nothing and, if `spend` is set and none failed, of one clip."""
        async for result in self._steps(spend):
            self.results.append(result)
            yield result

    async def _steps(self, spend: bool) -> AsyncIterator[StepResult]:
        yield await _run("authentication", self._authenticate)
        yield await _run("lookup", self._look_up_unknown)
        yield await _run("unknown task", self._poll_unknown)
        yield await _run("quote", self._quote)
        yield await _run("webhook", self._send_webhook)
        if spend and any(result.outcome == "failed" for result in self.results):
            yield StepResult("create", "skipped", "A step failed, so nothing is ordered.")
        elif spend:
            # Sent once. Only a service that recognises the key of the order receives it again, for the first task.
            yield await _run("create", self._create)
            if self.task_id or self.is_unknown:
                yield await _run("recovery", self._recover)
            for result in self._results_of(await self._wait(self.task_id)) if self.task_id else ():
                yield result

    def _results_of(self, answer: Answer) -> Iterator[StepResult]:
        if isinstance(answer, Succeeded) and answer.file:
            yield StepResult("poll", "passed", "")
            content = (answer.original or answer.file).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            yield StepResult("download", "passed", f"{len(content)} bytes, sha256 {digest}")
            yield StepResult("measure", *self._measure(answer.facts), answer.facts)
            return
        failure = answer.failure if isinstance(answer, FileMissing) else answer
        yield StepResult("poll", "failed", str(getattr(failure, "message", failure)))

    async def _authenticate(self) -> tuple[Outcome, str]:
        await self.provider.check()
        if self.api_key == "none":
            return "skipped", "The server answers; no API key is set."
        try:
            await self._poll(self.open_provider(WRONG_KEY), self.provider.unknown_task_id)
        except Unavailable as error:
            return ("passed", "") if error.code == "api_key_rejected" else ("failed", f"A wrong key: {error.message}")
        return "failed", "The server accepts a wrong key."

    async def _look_up_unknown(self) -> tuple[Outcome, str]:
        before = len(self.recorder.exchanges)
        if found := await self.provider.lookup(self.request, key=f"{self.key}-unknown", since=self.since):
            return "failed", f"An order that was never placed is found as {', '.join(found)}."
        return "skipped" if len(self.recorder.exchanges) == before else "passed", self.provider.lookup_proof

    async def _poll_unknown(self) -> tuple[Outcome, str]:
        result = await self._poll(self.provider, self.provider.unknown_task_id)
        return ("passed", "") if isinstance(result, NotFound) else ("failed", f"It is {result}.")

    async def _quote(self) -> tuple[Outcome, str]:
        usd = await self.provider.quote(self.request)
        if usd is None:
            return "skipped", "The server quotes no price in USD."
        return "failed" if usd > self.usd else "passed", f"${usd:.3f}; the profile says ${self.usd:.3f}."

    async def _send_webhook(self) -> tuple[Outcome, str]:
        """Send a webhook about no task, unsigned and signed."""
        if self.webhook_url is None:
            return "skipped", "MYLOWARE_PUBLIC_URL is not set."
        if not (secrets := self.webhook_secrets or await self.provider.fetch_secrets()):
            return "skipped", "No secret of webhooks is set."
        task_id = f"check-{uuid4()}"
        event = {"id": task_id, "request_id": task_id, "status": "check"}
        body = json.dumps({**event, "type": "video.check", "data": {"id": task_id}}).encode()
        signature = sign(secrets[0], id=task_id, at=datetime.now(UTC), body=body)
        try:
            async with httpx.AsyncClient() as client:
                unsigned = (await client.post(self.webhook_url, content=body)).status_code
                signed = (await client.post(self.webhook_url, content=body, headers=signature)).status_code
        except httpx.HTTPError as error:
            return "failed", f"{self.webhook_url} did not respond ({type(error).__name__})."
        is_right = unsigned == 401 and 200 <= signed < 300
        return "passed" if is_right else "failed", f"{self.webhook_url}: unsigned {unsigned}, signed {signed}."

    async def _create(self) -> tuple[Outcome, str]:
        try:
            self.task_id = await self.provider.submit(self.request, key=self.key)
        except OutcomeUnknown as error:
            self.is_unknown = True
            return "failed", f"{error.message} See {self.provider.lookup_url(self.request, key=self.key)}."
        return "passed", f"task {self.task_id}"

    async def _recover(self) -> tuple[Outcome, str]:
        """Find the order as if its answer had been lost."""
        before, way = len(self.recorder.exchanges), "by lookup"
        found = await self._look_up(before)
        if not found and self.provider.replayable:
            found, way = [await self.provider.submit(self.request, key=self.key)], "by its key"
        if not found and len(self.recorder.exchanges) == before:
            return "skipped", self.provider.lookup_proof
        self.task_id = self.task_id or (found[0] if found else None)
        if found != [self.task_id]:
            return "failed", f"Found is {', '.join(found) or 'nothing'}, not exactly one task, that of the order."
        return "passed", way

    async def _look_up(self, before: int) -> list[str]:
        """Return what is found, at the latest at the end of the lookup window; nothing at once without a request."""
        waited, attempts = timedelta(), 0
        while not (found := await self.provider.lookup(self.request, key=self.key, since=self.since)):
            if len(self.recorder.exchanges) == before or waited > self.provider.lookup_window:
                return []
            pause, attempts = default_pause(attempts), attempts + 1
            await self.sleep(pause.total_seconds())
            waited += pause
        return found

    async def _wait(self, task_id: str) -> Answer:
        """Return the end of the task, or the last answer."""
        waited, polls, without_answer = timedelta(), 0, 0
        while True:
            answer: Answer
            try:
                answer = await self._poll(self.provider, task_id)
            except Unavailable as error:
                answer = error
            without_answer = 0 if isinstance(answer, Pending) else without_answer + 1
            is_late = without_answer > MAX_POLLS_WITHOUT_ANSWER or waited > MAX_WAIT
            if is_late or isinstance(answer, Succeeded | Failed):
                return answer
            self.show_progress(answer)
            pause, polls = self.provider.poll_pause(polls), polls + 1
            await self.sleep(pause.total_seconds())
            waited += pause

    def _measure(self, facts: Json) -> tuple[Outcome, str]:
        seconds, has_sound = facts["delivered"]["seconds"], facts["lufs"] is not None
        size, sound = facts["delivered"]["frame_size"].partition(",")[0], "with sound" if has_sound else "silent"
        is_long = abs(seconds - self.request["seconds"]) <= LENGTH_TOLERANCE_SECONDS
        is_as_ordered = size == self.request["size"] and self.request.get("sound") in (None, has_sound)
        return "passed" if is_long and is_as_ordered else "failed", f"{seconds:.2f} s, {size}, {sound}"

    async def _poll(self, provider: VideoProvider, task_id: str) -> PollResult:
        return await provider.poll(task_id, self.request, into=self.folder, progress=lambda _: asyncio.sleep(0))


async def _run(step: str, work: Callable[[], Awaitable[tuple[Outcome, str]]]) -> StepResult:
    try:
        return StepResult(step, *await work())
    except ProviderError as error:
        return StepResult(step, "failed", error.message)
