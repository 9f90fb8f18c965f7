"""A fourth vendor: everything that an adapter of one needs."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from providers.base import Json
from providers.native_videos import NativeVideos, callback_url
from providers.results import Failed, PollResult

#: Profiles of its models, as in `video_profiles.toml`.
PROFILE = {
    "kind": "toy",
    "hosts": ["*"],
    "models": ["toy-1"],
    "sizes": ["720x1280"],
    "seconds": [5],
    "usd_per_second": "0.05",
    "input_fields": {"text": "$prompt", "options": {"length": "$seconds", "lines": "$resolution", "sound": "$sound"}},
}


class Toy(NativeVideos):
    """Jobs, each under the key of its order, by which they are listed."""

    short_name, service_name, status_path = "toy", "Toy", "/jobs/{}"
    states, done = {"waiting": None, "stopped": Failed("video_canceled", "The job was stopped.")}, "ready"
    replayable = timedelta(hours=1)
    lookup_proof = "Toy lists every job by the key of its order."

    async def check(self) -> None:
        """Read the list. Raises Unavailable."""
        await self._list("")

    def _create(self, request: Json, key: str) -> tuple[str, dict[str, Any]]:
        body = {"input": self._input(request, key), "webhook": callback_url(request, key)}
        return "/jobs", {"json": body, "headers": {"idempotency-key": key}}

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the ids of the jobs under the key. Raises Unavailable."""
        return await self._list(key)

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the URL of the jobs under the key."""
        return f"{self._api.base_url}/jobs?key={quote(key)}"

    async def _list(self, key: str) -> list[str]:
        response = await self._api.query("GET", "/jobs", params={"key": key})
        jobs = response.json().get("jobs")
        if response.status != 200 or not isinstance(jobs, list):
            raise self._api.unexpected_response(response)
        return [job["id"] for job in jobs if isinstance(job, dict) and isinstance(job.get("id"), str)]

    async def _clip(self, task: Json, request: Json, into: Path) -> PollResult:
        return await self._fetch(task.get("file"), request, into)
