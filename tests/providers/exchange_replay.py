"""Replays a file of `myloware providers check --record`: the recorded answers, in order, to the adapter of today."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from providers.conformance_kit import ConformanceKit, StepResult
from providers.exchange_record import ExchangeRecorder
from providers.higgsfield import Higgsfield
from providers.kling import Kling
from providers.native_videos import NativeVideos
from providers.replicate import Replicate
from providers.results import Succeeded
from providers.video_profiles import load_profiles, profile_for
from providers.video_provider import VideoProvider
from providers.videos import Videos

VENDORS: dict[str, type[NativeVideos]] = {"replicate": Replicate, "kling": Kling, "higgsfield": Higgsfield}
#: All hosts of a record become this one, which needs no resolver.
ORIGIN = "http://127.0.0.1:9"


class RecordedServer(httpx.AsyncBaseTransport):
    """Answers each request with the next recorded answer to one of the same method and path."""

    def __init__(self, exchanges: list[dict[str, Any]]) -> None:
        self._origins = {each["origin"] for each in exchanges}
        self._remaining = list(exchanges)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        while self._remaining:
            exchange = self._remaining.pop(0)
            if (exchange["method"], exchange["path"]) == (request.method, request.url.path):
                if "response" not in exchange:
                    raise httpx.ReadError("The answer was lost.")
                return self._respond(exchange["response"])
        raise AssertionError(f"No recorded answer is left for {request.method} {request.url.path}.")

    def _respond(self, response: dict[str, Any]) -> httpx.Response:
        body = response["body"]
        content = json.dumps(body["json"]) if "json" in body else body.get("text", "\0" * body.get("bytes", 0))
        for origin in self._origins:
            content = content.replace(origin, ORIGIN)
        return httpx.Response(response["status"], headers=response["headers"], content=content.encode())


async def replay(path: Path, folder: Path, profiles: Path | None = None) -> tuple[list[StepResult], list[StepResult]]:
    """Return the recorded results and those of the adapter of today. The file of a clip is not a part of a record."""
    record = json.loads(path.read_text())
    recorded = [StepResult(**each) for each in record["results"]]
    facts = next((each.facts for each in recorded if each.step == "measure"), {})
    name, _, place = record["provider"].partition(":")
    base_url, order = f"{ORIGIN}{place[place.find('/') :]}", record["order"]
    known = load_profiles(profiles)

    async def accept(file: Path, **_: Any) -> Succeeded:
        return Succeeded(file, None, dict(facts))

    async def hurry(seconds: float) -> None:
        """Do not wait."""

    recorder = ExchangeRecorder()
    async with recorder.attach(httpx.AsyncClient(transport=RecordedServer(record["exchanges"]))) as client:

        def open_provider(key: str) -> VideoProvider:
            if name not in VENDORS:
                profile = profile_for(known, base_url, order["request"]["model"], datetime.now(UTC).date())
                return Videos(base_url, key, [profile], client, accept, file_client=client)
            own = [each for each in known if each.kind == name]
            return VENDORS[name](base_url, key, own, client, accept, client)

        kit = ConformanceKit(
            open_provider,
            api_key="any",
            request=order["request"],
            key=order["key"],
            since=datetime.fromisoformat(order["since"]),
            usd=Decimal(order["usd"]),
            recorder=recorder,
            folder=folder,
            sleep=hurry,
        )
        return recorded, [each async for each in kit.run(spend=any(each.step == "create" for each in recorded))]
