"""Clips from a server that implements the OpenAI videos API.

The contract is `POST /videos`, `GET /videos`, `GET /videos/{id}` and `GET /videos/{id}/content`; the profile
describes what a server and model support.
"""

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from providers.base import Json, NotSent, Progress, Unavailable, Unusable
from providers.http import ApiResponse, Limits
from providers.public_hosts import FileRules, download_file
from providers.results import Candidate, Failed, FileMissing, NotFound, Pending, PollResult
from providers.values import parse_number, parse_progress
from providers.video_profiles import Profile
from providers.video_provider import IMAGE_TYPE, VideoProvider, fill, image_values

SERVICE_NAME = "The video service"
LIMITS = Limits(submit_seconds=120.0)
#: The largest difference between the server's clock and ours.
MAX_CLOCK_SKEW = timedelta(seconds=60)
MAX_LIST_PAGES = 20
_TEMPORARY_STATUSES = (401, 403, 408, 409, 425, 429)


class Videos(VideoProvider):
    """The provider of clips, with one profile.

    A request contains `model`, `prompt`, `seconds` (a whole number), `size` (pixels, "720x1280") and, where it
    applies, `image`, the digest of one in `stored`.
    """

    short_name, service_name, limits = "videos", SERVICE_NAME, LIMITS

    @property
    def _profile(self) -> Profile:
        return next(iter(self._profiles.values()))

    @property
    def lookup_proof(self) -> str:  # type: ignore[override]
        """Return what a lookup can prove, which depends on the server."""
        return self._profile.lookup_proof

    async def check(self) -> None:
        """Read a page of the list, or of the models of a server without a list of its jobs. Raises Unavailable."""
        if self._profile.list_shows_jobs or self._profile.list_echoes_prompt:
            await self._list_page(None)
        else:
            await self._api.query("GET", "/models", expected=(200,))

    async def submit(self, request: Json, *, key: str) -> str:
        """Place one order and return the server's id of the video. The contract has no field for `key`."""
        fields: dict[str, Any] = {name: str(request[name]) for name in ("model", "prompt", "seconds", "size")}
        form: dict[str, Any] = {name: (None, value) for name, value in fields.items()}
        if image := await self._read_image(request, self._profile):
            fields |= fill(self._profile.start_image, image_values(image))
            form |= dict.fromkeys(self._profile.start_image, ("image.jpg", image, IMAGE_TYPE))
        is_json, headers = self._profile.encoding == "json", self._profile.create_headers
        content: dict[str, Any] = {"json": fields | self._profile.create_fields} if is_json else {"files": form}
        response = await self._api.submit("/videos", headers=headers, **content)
        if error := self._api.submit_error(response, "video_refused"):
            message = self._api.error_details(response.json(), "video_refused")[1]
            raise error if self._profile.is_accepted(message) else NotSent("not_ready", f"{SERVICE_NAME}: {message}")
        return self._id_of(response.json())

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the ids of the listed videos that match `request` and were created at or after `since`, oldest first.

        Empty for a server whose list does not contain prompts: without them no video can be identified.
        Raises Unavailable, also when the list has too many pages.
        """
        if not self._profile.list_echoes_prompt:
            return []
        return [video["id"] for video in await self._matching(request, since) if video.get("prompt")]

    async def candidates(self, request: Json, *, since: datetime) -> list[Candidate]:
        """Return the listed videos of the same model, size and length since then, without a prompt to compare."""
        if not self._profile.list_shows_jobs:
            return []
        return [
            Candidate(
                task_id=video["id"],
                status=str(video.get("status")),
                created_at=datetime.fromtimestamp(_created_at(video), UTC),
                url=f"{self._api.base_url}{_video_path(video['id'])}",
            )
            for video in await self._matching(request, since)
        ]

    async def _matching(self, request: Json, since: datetime) -> list[Json]:
        """Return the listed videos that match the request as far as they are described, oldest first."""
        earliest = (since - MAX_CLOCK_SKEW).timestamp()
        found: list[Json] = []
        after: str | None = None
        for _ in range(MAX_LIST_PAGES):
            videos, after = await self._list_page(after)
            found += [video for video in videos if _matches(video, request, earliest)]
            if after is None or any(_created_at(video) < earliest for video in videos):
                return sorted(found, key=_created_at)
        raise Unavailable("video_list_too_long", f"{SERVICE_NAME} lists too many videos to search.")

    async def _list_page(self, after: str | None) -> tuple[list[Json], str | None]:
        """Return a page of the list, newest first, and the id after which the next page starts, None without one."""
        params = {"limit": "100", "order": "desc"} | ({"after": after} if after else {})
        response = await self._api.query("GET", "/videos", params=params)
        page = response.json()
        entries = page.get("data")
        if response.status != 200 or not isinstance(entries, list):
            raise self._api.unexpected_response(response)
        videos: list[Json] = [entry for entry in entries if isinstance(entry, dict)]
        last = videos[-1].get("id") if videos else None
        has_next = page.get("has_more") and isinstance(last, str) and last != after
        return videos, last if has_next else None

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the URL of the list of videos, newest first, or the console if the list proves nothing."""
        return f"{self._api.base_url}/videos" if self._profile.list_shows_jobs else self._profile.console

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Return the status of a video; once it is completed, its clip, downloaded to `into` and validated.

        The facts are those of the validated clip, with `model` and `provider_seconds` as the server reports them.
        A completed video is charged for, even if it cannot be downloaded or used. Raises Unavailable.
        """
        response = await self._api.query("GET", _video_path(task_id))
        video = response.json()
        # Some servers return a failed job with an HTTP error status.
        if self._profile.job_state(video.get("status")) == "failed":
            return self._failed(video)
        if response.status in (404, 410):
            return NotFound()  # the server may have restarted, or be one of several
        if response.status != 200 or not isinstance(video.get("status"), str):
            raise self._api.unexpected_response(response)
        if self._profile.job_state(video["status"]) == "running":
            return Pending(parse_progress(video.get("progress"), 100))
        return await self._download_clip(task_id, video, request, into)

    async def _download_clip(self, task_id: str, video: Json, request: Json, into: Path) -> PollResult:
        received, path = into / "received.mp4", f"{_video_path(task_id)}/content"
        try:
            response = await self._download(task_id, video, received)
            if response.status != 200:
                return self._download_failed(response)
            width, _, height = str(request["size"]).partition("x")
            clip = await self._accept(
                received, seconds=float(request["seconds"]), width=int(width), height=int(height), into=into
            )
        except Unusable as error:  # the file is too large, or not a usable clip
            message = f"{error.message.rstrip('.')} (the delivered file: {self._api.base_url}{path})."
            return Failed(error.code, message, charged=True)
        model, seconds = video.get("model") or request["model"], parse_number(video.get("seconds"))
        return replace(clip, facts={**clip.facts, "model": model, "provider_seconds": seconds})

    async def _download(self, task_id: str, video: Json, to: Path) -> ApiResponse:
        """Download the clip from the server, or from the place that the server names."""
        path = f"{_video_path(task_id)}/content"
        response = await self._api.download(path, to, self._profile.content_query)
        url = _find_url(self._api.base_url + path, response, video)
        if response.status in (200, *_TEMPORARY_STATUSES) or url is None:
            return response
        rules = FileRules(self._profile.file_hosts, self._profile.private_file_hosts, self._api.base_url)
        headers = {"authorization": self._api.authorization} if rules.is_own(url) else None
        found = await download_file(str(url), to, rules, self._api.limits, headers, self._file_client)
        if found.status != 200:
            message = f"{url.host} does not serve the file of this video (HTTP {found.status})."
            raise Unavailable("file_not_served", message)
        return found

    def _download_failed(self, response: ApiResponse) -> Failed | FileMissing:
        """Return why a completed video has no file. Raises Unavailable for a reason that is certainly temporary."""
        if self._profile.job_state(response.json().get("status")) == "failed":
            return self._failed(response.json())
        if response.status in (404, 410):
            message = f"{SERVICE_NAME} no longer stores the file of this video."
            return FileMissing(Failed("video_expired", message, charged=True))
        if response.status >= 500 or response.status in _TEMPORARY_STATUSES:
            raise self._api.unexpected_response(response)
        message = f"{SERVICE_NAME} does not serve the file itself (HTTP {response.status})."
        return FileMissing(Failed("video_unfetchable", message, charged=True))

    def _failed(self, video: Json) -> Failed:
        code, message = self._api.error_details(video, "video_failed")
        status = video.get("status")
        # An expired or deleted video was generated, and so is charged for.
        charged = status in ("expired", "deleted")
        default = f"{SERVICE_NAME} ended the video with status {self._api.sanitize(status)}."
        return Failed(code, message or default, charged)


def _find_url(base: str, response: ApiResponse, video: Json) -> httpx.URL | None:
    """Return the URL of a clip that the server stores elsewhere: of a redirect, an error message, or the video."""
    location, detail = response.headers.get("location"), response.json().get("detail")
    in_message = re.search(r"https?://\S+", detail if isinstance(detail, str) else "")
    url = location or (in_message[0] if in_message else video.get("url"))
    try:
        return httpx.URL(base).join(url) if url and isinstance(url, str) else None
    except httpx.InvalidURL:
        return None


def _video_path(video_id: str) -> str:
    # Some proxies use base64 ids, which may contain a slash.
    return f"/videos/{quote(video_id, safe='')}"


def _created_at(video: Json) -> float:
    """Return the Unix time of creation; NaN, which compares as neither older nor newer, if it is not reported."""
    created_at = parse_number(video.get("created_at"))
    return math.nan if created_at is None else created_at


def _matches(video: Json, request: Json, earliest: float) -> bool:
    """Return whether a listed video can be this order: it is recent, and no reported field differs."""
    return (
        isinstance(video.get("id"), str)
        and _created_at(video) >= earliest
        and all(video.get(name) in (None, request[name]) for name in ("prompt", "model", "size"))
        and parse_number(video.get("seconds")) in (None, float(request["seconds"]))
    )
