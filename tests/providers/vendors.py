"""A vendor's adapter against its emulator over HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from sandbox_server import SandboxClient

from providers.base import ProviderError, Unusable
from providers.native_videos import NativeVideos
from providers.results import Pending, PollResult, Succeeded
from providers.video_profiles import Profile, load_profiles
from providers.webhooks import Secret, parse_secret
from tests.providers.stub_server import ignore_progress


class VendorTest:
    """An adapter, its emulator and a folder for clips. `request` is that of a small clip, under the `key`."""

    def __init__(
        self, kind: type[NativeVideos], base: str, api_key: str, model: str, sandbox: SandboxClient, folder: Path
    ) -> None:
        self.sandbox, self.folder, self.kind, self.api_key = sandbox, folder, kind, api_key
        self.key = f"{uuid4()}:clip:1:1"
        self.base_url = f"{str(sandbox.base_url).rstrip('/')}{base}"
        self.request: dict[str, Any] = {
            "model": model,
            "prompt": f"A paper boat, take {datetime.now(UTC).timestamp()}",
            "seconds": 1,
            "size": "180x320",
            "sound": True,
        }
        self.profiles = [_small(each) for each in load_profiles() if each.kind == kind.short_name]
        self.started_at = datetime.now(UTC)

    async def __aenter__(self) -> VendorTest:
        self.client = httpx.AsyncClient()
        self.adapter = self.open(self.base_url, self.client)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.aclose()

    def open(self, base_url: str, client: httpx.AsyncClient, **options: Any) -> NativeVideos:
        """Return an adapter of the server."""
        return self.kind(base_url, self.api_key, self.profiles, client, accept, self.client, **options)

    async def submit(self, key: str = "", **changes: Any) -> str:
        return await self.adapter.submit({**self.request, **changes}, key=key or self.key)

    async def submit_error(self, **changes: Any) -> ProviderError:
        """Return the error of a submit."""
        try:
            task_id = await self.submit(**changes)
        except ProviderError as error:
            return error
        raise AssertionError(f"accepted as {task_id}")

    async def lookup(self, since: datetime | None = None) -> list[str]:
        return await self.adapter.lookup(self.request, key=self.key, since=since or self.started_at)

    async def poll(self, task_id: str) -> PollResult:
        return await self.adapter.poll(task_id, self.request, into=self.folder, progress=ignore_progress)

    async def wait(self, task_id: str) -> PollResult:
        """Poll a task until it has ended."""
        async with asyncio.timeout(30):
            while True:
                result = await self.poll(task_id)
                if not isinstance(result, Pending):
                    return result
                await asyncio.sleep(0.05)

    async def charges(self) -> list[float]:
        """Return the amounts of this test's charges in USD."""
        charges = (await self.sandbox.get("/sandbox/charges")).json()
        return [each["usd"] for each in charges if each["prompt"] == self.request["prompt"]]


async def webhook_secrets(sandbox: SandboxClient) -> list[Secret]:
    """Return the secrets that the sandbox signs webhooks of vendors with."""
    answer = await sandbox.get("/replicate/v1/webhooks/default/secret")
    return [parse_secret(answer.json()["key"])]


async def accept(path: Path, *, seconds: float, width: int, height: int, into: Path) -> Succeeded:
    """Accept any MP4 file."""
    if path.read_bytes()[4:8] != b"ftyp":
        raise Unusable("clip_unreadable", "The clip is not a video.")
    return Succeeded(path, None, {"seconds": seconds, "width": width, "height": height})


def _small(profile: Profile) -> Profile:
    """Return a profile that permits small clips, which take less time."""
    return profile.model_copy(update={"sizes": ("180x320",), "seconds": (1,)})
