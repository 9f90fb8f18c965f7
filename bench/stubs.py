"""Stubs of the vendors behind the interfaces of the product. They cost next to nothing, so the product is measured."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from providers.base import Json, Progress, Provider
from providers.moderation import Moderation, ModerationResult
from providers.results import Pending, PollResult, Succeeded

#: Reports an event at a vendor: "submit" or "poll", the key of the order or the task id, and the task id.
Report = Callable[[str, str, str], None]

IDEAS = [
    {
        "title": f"Rain on a roof {number}",
        "scene": "A slate roof under slow rain at dusk, water beading along the gutter, a lit window behind it. " * 2,
        "sound": "Rain on slate, a gutter, far thunder.",
        "overlay": f"Stay for the rain {number}",
    }
    for number in (1, 2, 3)
]
ANSWERS: dict[str, dict[str, Any]] = {
    "Screening": {"fits": True, "reason": ""},
    "Ideas": {"title": "Rain at dusk", "ideas": IDEAS},
    "Caption": {"caption": "An evening of rain, in three calm shots.", "hashtags": ["#rain", "#calm", "#dusk"]},
}


@dataclass
class StubProvider(Provider):
    """Takes every order and has its result after `seconds`. It keeps nothing: the task id contains the time."""

    name: str
    report: Report
    seconds: float = 0.0
    has_file: bool = True
    lookup_window: timedelta = timedelta(0)
    replayable: timedelta | None = None

    async def submit(self, request: Json, *, key: str) -> str:
        """Return a new task id, and report the order."""
        task_id = f"{self.name}-{time.time():.3f}-{uuid4().hex}"
        self.report("submit", key, task_id)
        return task_id

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return nothing: every call is answered, so no order is lost."""
        return []

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the name of the stub."""
        return self.name

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Return the result once its time has come: a small file of its own, or the links of a publication."""
        self.report("poll", "", task_id)
        if time.time() < float(task_id.split("-")[1]) + self.seconds:
            return Pending()
        if not self.has_file:
            links = {name: {"url": f"http://stub/{task_id}", "post_id": task_id} for name in request["platforms"]}
            return Succeeded(facts={"platforms": links})
        file = into / "stub.mp4"
        file.write_bytes(task_id.encode())
        facts = {"seconds": 4.0, "width": 720, "height": 1280, "fps": 30, "codec": "h264", "size_bytes": len(task_id)}
        return Succeeded(file=file, facts=facts)


class StubModel(BaseChatModel):
    """A language model that answers each schema with the same text."""

    @property
    def _llm_type(self) -> str:
        return "stub"

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        message = AIMessage(
            json.dumps(ANSWERS[options["response_format"]["json_schema"]["name"]]),
            response_metadata={"finish_reason": "stop"},
            usage_metadata={"input_tokens": 300, "output_tokens": 200, "total_tokens": 500},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        return self._generate(messages, **options)


class StubModeration(Moderation):
    """A moderation service that flags nothing."""

    def __init__(self) -> None:
        """Open no client."""

    async def check(self, texts: list[str]) -> ModerationResult:
        """Return that no text is flagged."""
        return ModerationResult(False, [])
