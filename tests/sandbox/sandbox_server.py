"""What tests of the sandbox are made of: a server process, a client and a receiver of webhooks."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

SMALL = {"model": "sandbox-video", "seconds": "1", "size": "180x320"}


class Server:
    """A running `python -m sandbox`."""

    def __init__(self, state: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--state", str(state), "--parent-watch", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["sandbox"]

    def stop(self) -> None:
        """Ends it and closes its pipes; closing its input is what asks it to go."""
        self.process.communicate(timeout=10)

    def kill(self) -> None:
        """Kills it as `kill -9` does."""
        self.process.kill()
        self.process.communicate(timeout=10)


class Client(httpx.AsyncClient):
    """Speaks to a sandbox, with the abbreviations tests need."""

    def __init__(self, url: str) -> None:
        # Without TLS there is nothing to verify, and reading the certificates takes longer than most tests.
        super().__init__(base_url=url, headers={"Authorization": "Bearer any"}, timeout=30, verify=False)

    async def fault(self, name: str, times: int | None = 1, **params: Any) -> None:
        body = {"fault": name, "times": times, **params}
        assert (await self.post("/sandbox/faults", json=body)).status_code == 201

    async def counts(self) -> dict[str, Any]:
        return (await self.get("/sandbox/counts")).json()

    async def create(self, prompt: str, **fields: str) -> dict[str, Any]:
        answer = await self.post("/v1/videos", json={"prompt": prompt, **SMALL, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, video_id: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                video = (await self.get(f"/v1/videos/{video_id}")).json()
                if video["status"] in ("completed", "failed"):
                    return video
                await asyncio.sleep(0.03)

    async def finished(self, prompt: str, **fields: str) -> dict[str, Any]:
        return await self.ended((await self.create(prompt, **fields))["id"])


@dataclass
class Received:
    """One request as it came in."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Takes webhooks on a free port; answers with the next of `answers`, or 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.answers.pop(0) if self.answers else 200
        location = "Location: /elsewhere\r\n" if 300 <= status < 400 else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        async with self._came:
            self.received.append(Received(headers, body))
            self._came.notify_all()

    async def until(self, enough: Callable[[list[Received]], bool], seconds: float = 15) -> list[Received]:
        """Everything received, once it is enough."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: enough(self.received))
        return self.received
