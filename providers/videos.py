"""A maker of clips: whoever serves the OpenAI videos contract at a base URL.

The contract is that of `POST /videos`, `GET /videos`, `GET /videos/{id}` and `GET /videos/{id}/content`; what
a given server and model can do stands in its profile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from providers.base import Failed, Json, NotFound, Pending, PollResult, Progress, ProviderError, Succeeded, Unavailable
from providers.http import ApiClient, ApiResponse, TooLarge, endpoint_label
from providers.video_profiles import Profile

WHO = "The video service"
SUBMIT_SECONDS = 120.0
MAX_CLIP_BYTES = 64 * 1024 * 1024
DOWNLOAD_SECONDS = 300.0
IDLE_SECONDS = 30.0
#: How much the clocks of the server and ours may differ.
SKEW = timedelta(seconds=60)
MAX_PAGES = 20


class Clip(Protocol):
    """A clip found good."""

    @property
    def file(self) -> Path: ...

    @property
    def original(self) -> Path | None: ...

    @property
    def facts(self) -> dict[str, Any]: ...


class Accept(Protocol):
    """The check of a downloaded clip. Raises a ProviderError for one that cannot be used."""

    def __call__(self, path: Path, *, seconds: float, width: int, height: int, into: Path) -> Awaitable[Clip]: ...


class Videos:
    """Clips by the videos contract.

    A request is `model`, `prompt`, `seconds` (a whole number) and `size` (pixels, "720x1280").
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        profile: Profile,
        client: httpx.AsyncClient,
        accept: Accept,
        *,
        max_bytes: int = MAX_CLIP_BYTES,
        download_seconds: float = DOWNLOAD_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        submit_seconds: float = SUBMIT_SECONDS,
    ) -> None:
        self.name = f"videos:{endpoint_label(base_url)}"
        self.lookup_window = timedelta(seconds=profile.patience_seconds)
        self._profile = profile
        self._line = ApiClient(client, base_url, f"Bearer {api_key}", WHO)
        self._accept = accept
        self._max_bytes = max_bytes
        self._download_seconds = download_seconds
        self._idle_seconds = idle_seconds
        self._submit_seconds = submit_seconds

    async def submit(self, request: Json, *, key: str) -> str:
        """Place one order for a clip; the server's id of the video. The contract has no place for `key`.

        Raises NotSent, Refused or OutcomeUnknown.
        """
        fields = {name: str(request[name]) for name in ("model", "prompt", "seconds", "size")}
        content: dict[str, Any] = (
            {"json": fields}
            if self._profile.encoding == "json"
            else {"files": {name: (None, value) for name, value in fields.items()}}
        )
        answer = await self._line.place("/videos", refused="video_refused", seconds=self._submit_seconds, **content)
        video_id = answer.json().get("id")
        if not isinstance(video_id, str) or not 1 <= len(video_id) <= 4096 or not video_id.isprintable():
            raise self._line.unknown("its answer names no video")
        return video_id

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Ids of the videos like `request` made at or after `since`, oldest first, by the server's list.

        Empty for a server whose list does not tell prompts: there nothing can be recognised for certain.
        Raises Unavailable, also when the list is too long to be read to its end.
        """
        if not self._profile.list_echoes_prompt:
            return []
        earliest = (since - SKEW).timestamp()
        found: list[tuple[float, str]] = []
        params = {"limit": "100", "order": "desc"}
        for _ in range(MAX_PAGES):
            answer = await self._line.read("/videos", params)
            page = answer.json()
            videos = page.get("data")
            if answer.status != 200 or not isinstance(videos, list):
                raise self._line.odd(answer)
            made = [(_time(video), video) for video in videos if isinstance(video, dict)]
            found += [
                (at, str(video["id"]))
                for at, video in made
                if at is not None and at >= earliest and _alike(video, request)
            ]
            last = videos[-1].get("id") if videos and isinstance(videos[-1], dict) else None
            past = any(at is not None and at < earliest for at, _ in made)
            if past or not page.get("has_more") or not isinstance(last, str) or last == params.get("after"):
                return [video_id for _, video_id in sorted(found, key=lambda each: each[0])]
            params["after"] = last
        raise Unavailable("video_list_too_long", f"{WHO} lists too many videos to look through.")

    def lookup_url(self, request: Json, *, key: str) -> str:
        """The list of clips, newest first, where the order's prompt would stand."""
        return f"{self._line.base_url}/videos"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """How far a video is; once completed, its clip, downloaded into `into` and accepted.

        `facts` are those of the accepted clip, with `model` and `provider_seconds` as the server tells them. A video
        that is completed is charged for, whether it can be had and used or not.
        Raises Unavailable.
        """
        answer = await self._line.read(_path(task_id))
        video = answer.json()
        # Some servers answer a failed job with an HTTP error around it.
        if self._profile.state(video.get("status")) == "failed":
            return self._failed(video)
        if answer.status in (404, 410):
            return NotFound()  # restarted, perhaps, or another of several servers
        if answer.status != 200 or not isinstance(video.get("status"), str):
            raise self._line.odd(answer)
        if self._profile.state(video["status"]) == "running":
            return Pending(_share(video.get("progress")))
        return await self._fetch(task_id, video, request, into)

    async def _fetch(self, task_id: str, video: Json, request: Json, into: Path) -> Failed | Succeeded:
        received = into / "received.mp4"
        try:
            answer = await self._line.download(
                f"{_path(task_id)}/content",
                self._profile.content_query,
                to=received,
                limit=self._max_bytes,
                seconds=self._download_seconds,
                idle_seconds=self._idle_seconds,
            )
        except TooLarge as error:
            return Failed(error.code, error.message, charged=True)
        if answer.status != 200:
            return self._unfetched(answer)
        width, _, height = str(request["size"]).partition("x")
        try:
            clip = await self._accept(
                received, seconds=float(request["seconds"]), width=int(width), height=int(height), into=into
            )
        except Unavailable:
            raise
        except ProviderError as error:
            return Failed(error.code, error.message, charged=True)
        told = {
            "model": video.get("model") or request["model"],
            "provider_seconds": _number(video.get("seconds")),
        }
        return Succeeded(file=clip.file, original=clip.original, facts={**clip.facts, **told})

    def _unfetched(self, answer: ApiResponse) -> Failed:
        """Why a completed video has no file, for good. Raises Unavailable where asking again may help."""
        if self._profile.state(answer.json().get("status")) == "failed":
            return self._failed(answer.json())
        if answer.status in (404, 410):
            return Failed("video_expired", f"{WHO} no longer keeps the file of this video.", charged=True)
        if answer.status >= 500 or answer.status in (401, 403, 408, 409, 425):
            raise self._line.odd(answer)
        said = f"{WHO} does not hand out the file itself (HTTP {answer.status})."
        return Failed("video_unfetchable", said, charged=True)

    def _failed(self, video: Json) -> Failed:
        code, message = self._line.reason(video, "video_failed")
        # What has expired or was deleted had been made.
        charged = video.get("status") in ("expired", "deleted")
        return Failed(code, message or f"{WHO} ended the video as {self._line.clean(video.get('status'))}.", charged)


def _path(video_id: str) -> str:
    # Proxies make ids of base64, which may hold a slash.
    return f"/videos/{quote(video_id, safe='')}"


def _alike(video: Mapping[str, Any], request: Json) -> bool:
    """Whether a listed video is this order. The prompt must be told; what else is told must not differ."""
    told = {name: video.get(name) for name in ("model", "size")}
    return (
        isinstance(video.get("id"), str)
        and video.get("prompt") == request["prompt"]
        and all(value in (None, request[name]) for name, value in told.items())
        and _number(video.get("seconds")) in (None, float(request["seconds"]))
    )


def _time(video: Mapping[str, Any]) -> float | None:
    return _number(video.get("created_at"))


def _number(value: object) -> float | None:
    """A number told as such or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e12 else None  # neither infinity nor NaN


def _share(percent: object) -> float | None:
    number = _number(percent)
    return None if number is None else min(max(number / 100, 0.0), 1.0)
