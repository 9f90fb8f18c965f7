"""A publisher: Upload-Post, which hands one film to several platforms.

Contract: docs.upload-post.com as of October 2026. The request id is ours and is known before the call, so an
order of unknown fate is looked up by it; the idempotency key makes a repeated call the same upload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from providers.base import (
    ArtifactChanged,
    ArtifactMissing,
    Failed,
    Files,
    Json,
    NotSent,
    Pending,
    PollResult,
    Progress,
    Refused,
    Succeeded,
    Unavailable,
)
from providers.http import ApiClient, endpoint_label
from providers.publications.post import Post, id_of, read_post

WHO = "Upload-Post"
UPLOAD_SECONDS = 600.0

#: Told to every platform that has a way of saying so.
AI_LABELS = (
    "is_aigc",
    "tiktok_is_ai_generated",
    "containsSyntheticMedia",
    "is_ai_generated",
    "facebook_is_ai_generated",
)


class UploadPost:
    """Publications by Upload-Post, on the accounts of the profile `profile_user`.

    A request is `digest`, `caption`, `platforms` and, if wanted, `hashtags`, `title` and `request_id`.
    """

    #: Longer than the longest upload: until then it may still be under way.
    lookup_window = timedelta(seconds=UPLOAD_SECONDS + 120)

    def __init__(
        self,
        base_url: str,
        api_key: str,
        profile_user: str,
        files: Files,
        client: httpx.AsyncClient,
        *,
        upload_seconds: float = UPLOAD_SECONDS,
    ) -> None:
        self.name = f"upload_post:{endpoint_label(base_url)}:{profile_user}"
        self._line = ApiClient(client, base_url, f"Apikey {api_key}", WHO)
        self._user = profile_user
        self._files = files
        self._upload_seconds = upload_seconds

    async def submit(self, request: Json, *, key: str) -> str:
        """Hand over the film, once; the request id under which its fate is told.

        Raises NotSent, Refused (also when the film is not the one that was kept) or OutcomeUnknown.
        """
        post = read_post(request)
        request_id = id_of(request, key)
        try:
            film = await self._files.local_path(post.digest)
            file = await asyncio.to_thread(film.open, "rb")
        except (ArtifactMissing, ArtifactChanged) as error:
            raise Refused(error.code, error.message) from error
        except (OSError, Unavailable) as error:
            raise NotSent("artifact_unreadable", "The film cannot be read from the store.") from error
        with file:
            answer = await self._line.place(
                "/upload",
                refused="publication_refused",
                seconds=self._upload_seconds,
                headers={"idempotency-key": request_id, "x-request-id": request_id},
                data=self._form(post, request_id),
                files={"video": ("film.mp4", file, "video/mp4")},
            )
        told = answer.json()
        if not told:
            raise self._line.unknown("its answer says nothing")
        if told.get("success") is False and "results" not in told and "request_id" not in told:
            code, message = self._line.reason(told, "publication_refused")
            raise Refused(code, f"{WHO} refused the order: {message or 'no reason given'}")
        # An upload that it takes for a repeat of an earlier one is told under the earlier one's id.
        theirs = told.get("request_id")
        return theirs if isinstance(theirs, str) and 1 <= len(theirs) <= 255 and theirs.isprintable() else request_id

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """The request id, if Upload-Post knows of it. Raises Unavailable."""
        request_id = id_of(request, key)
        return [request_id] if await self._status(request_id) else []

    def lookup_url(self, request: Json, *, key: str) -> str:
        """The status of the upload under the id it was sent with, which was chosen before the call."""
        return f"{self._line.base_url}/uploadposts/status?request_id={id_of(request, key)}"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """How far a publication is. Done as soon as one platform has it; those that have not are in `failed`.

        `facts`: `platforms` by name with `url`, `post_id` and, where the film only reached the drafts,
        `fallback_to_inbox`; `failed` by name with a reason. Raises Unavailable.
        """
        status = await self._status(task_id)
        if status is None:
            # Never the end: to call a film unpublished that may be public would have it published twice.
            raise Unavailable("publication_not_found", f"{WHO} does not know this publication (yet).")
        word = status.get("status")
        results = {each["platform"]: each for each in _objects(status.get("results")) if "platform" in each}
        if word not in ("completed", "failed"):
            return Pending(_share(status.get("completed"), status.get("total")))
        if word == "completed" and not results:
            raise Unavailable("odd_answer", f"{WHO} calls the publication completed but names no platform.")
        good = {name: each for name, each in results.items() if each.get("success") is True}
        failed = {
            name: self._line.clean(results.get(name, {}).get("message")) or "no reason given"
            for name in (*read_post(request).platforms, *results)
            if name not in good
        }
        if not good:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            return Failed("publication_failed", f"{WHO} could not publish: {reasons}.")
        history = await self._history(task_id)
        platforms = {name: _place(each, history.get(name, {})) for name, each in good.items()}
        return Succeeded(facts={"platforms": platforms, **({"failed": failed} if failed else {})})

    def _form(self, post: Post, request_id: str) -> dict[str, Any]:
        return {
            "user": self._user,
            "platform[]": list(post.platforms),
            "title": post.text,
            **({"youtube_title": post.title[:100]} if post.title else {}),
            "async_upload": "true",
            "request_id": request_id,
            "disable_inbox_fallback": "true",
            **dict.fromkeys(AI_LABELS, "true"),
        }

    async def _status(self, request_id: str) -> dict[str, Any] | None:
        answer = await self._line.read("/uploadposts/status", {"request_id": request_id})
        told = answer.json()
        if answer.status == 404 or told.get("status") == "not_found":
            return None
        if answer.status != 200 or not isinstance(told.get("status"), str):
            raise self._line.odd(answer)
        return told

    async def _history(self, request_id: str) -> dict[str, Mapping[str, Any]]:
        """What the history tells of each platform. Entries of other uploads are left out."""
        answer = await self._line.read("/uploadposts/history", {"request_id": request_id, "limit": "50"})
        if answer.status != 200:
            raise self._line.odd(answer)
        entries = _objects(answer.json().get("history"))
        return {
            each["platform"]: each
            for each in entries
            if isinstance(each.get("platform"), str) and each.get("request_id", request_id) == request_id
        }


def _place(result: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Where a film is to be seen on one platform."""
    post_id = entry.get("platform_post_id") or result.get("post_id")
    inbox = result.get("fallback_to_inbox") is True or entry.get("fallback_to_inbox") is True
    return {
        "url": entry.get("post_url") or result.get("url"),
        "post_id": post_id,
        **({"fallback_to_inbox": True} if inbox else {}),
    }


def _objects(value: object) -> Iterable[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _share(completed: object, total: object) -> float | None:
    if isinstance(completed, int) and isinstance(total, int) and 0 <= completed <= total and total > 0:
        return completed / total
    return None
