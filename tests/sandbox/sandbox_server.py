"""Sandbox server process, HTTP client and webhook receiver for the tests of the sandbox."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

#: Fields of a create request for the smallest and fastest video.
SMALL_VIDEO = {"model": "sandbox-video", "seconds": "1", "size": "180x320"}


class SandboxServer:
    """A running `python -m sandbox`."""

    def __init__(self, state: Path, *options: str, secret: str | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--state", str(state), "--parent-watch", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **({"SANDBOX_WEBHOOK_SECRET": secret} if secret else {})},
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["sandbox"]

    def stop(self) -> None:
        """Close the standard input, which stops the server, and wait for its exit."""
        self.process.communicate(timeout=60)

    def kill(self) -> None:
        """Kill the process as `kill -9` does."""
        self.process.kill()
        self.process.communicate(timeout=10)


class SandboxClient(httpx.AsyncClient):
    """HTTP client of a sandbox with shortcuts for faults, counts and videos."""

    def __init__(self, url: str) -> None:
        # The URL has no TLS; loading the certificates would take longer than most tests.
        super().__init__(base_url=url, headers={"Authorization": "Bearer any"}, timeout=30, verify=False)

    async def inject_fault(self, name: str, times: int | None = 1, **params: Any) -> None:
        body = {"fault": name, "times": times, **params}
        assert (await self.post("/sandbox/faults", json=body)).status_code == 201

    async def get_counts(self) -> dict[str, Any]:
        return (await self.get("/sandbox/counts")).json()

    async def create_video(self, prompt: str, **fields: str) -> dict[str, Any]:
        response = await self.post("/v1/videos", json={"prompt": prompt, **SMALL_VIDEO, **fields})
        assert response.status_code == 200, response.text
        return response.json()

    async def wait_for_video(self, video_id: str) -> dict[str, Any]:
        """Poll a video until it is completed or failed."""
        async with asyncio.timeout(20):
            while True:
                video = (await self.get(f"/v1/videos/{video_id}")).json()
                if video["status"] in ("completed", "failed"):
                    return video
                await asyncio.sleep(0.03)

    async def create_and_wait(self, prompt: str, **fields: str) -> dict[str, Any]:
        return await self.wait_for_video((await self.create_video(prompt, **fields))["id"])


@dataclass
class ReceivedWebhook:
    """Headers, body and path of a webhook request."""

    headers: dict[str, str]
    body: bytes
    path: str = ""

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class WebhookReceiver:
    """HTTP server that records webhooks and answers with the next status of `statuses`, or 200.

    It handles a request only after the next pause of `pauses`, in seconds, as a busy server does.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    received: list[ReceivedWebhook] = field(default_factory=list)
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.pauses.pop(0) if self.pauses else 0)
        start, *head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.statuses.pop(0) if self.statuses else 200
        location = "Location: /elsewhere\r\n" if 300 <= status < 400 else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        async with self._arrival:
            self.received.append(ReceivedWebhook(headers, body, start.split()[1]))
            self._arrival.notify_all()

    async def wait_for(
        self, condition: Callable[[list[ReceivedWebhook]], bool], timeout_seconds: float = 15
    ) -> list[ReceivedWebhook]:
        """Return all received webhooks as soon as they satisfy the condition."""
        async with asyncio.timeout(timeout_seconds), self._arrival:
            await self._arrival.wait_for(lambda: condition(self.received))
        return self.received
