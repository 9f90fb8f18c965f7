"""Upload-Post, a service that publishes a film on several platforms.

Contract: docs.upload-post.com as of October 2026. The client chooses the request id before the call, so an order of
unknown outcome is looked up by it; the idempotency key deduplicates repeated calls.
"""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from providers.base import Failed, Files, Json, NotSent, Pending, PollResult, Progress, Refused, Succeeded, Unavailable
from providers.http import ApiClient, ApiResponse, Limits, endpoint_label
from providers.publications.post import Post, id_of
from providers.values import is_plain_text, parse_progress

SERVICE_NAME = "Upload-Post"
LIMITS = Limits(submit_seconds=600.0)

#: The form fields that label a film as made by AI, for every platform that has such a label.
AI_LABELS = (
    "is_aigc",
    "tiktok_is_ai_generated",
    "containsSyntheticMedia",
    "is_ai_generated",
    "facebook_is_ai_generated",
)


class UploadPost:
    """Publishes on the accounts of the profile `profile_user`.

    A request contains `digest`, `caption`, `platforms` and optionally `hashtags`, `title` and `request_id`.
    """

    #: Longer than the longest upload: until then it may still be running.
    lookup_window = timedelta(seconds=LIMITS.submit_seconds + 120)

    def __init__(
        self,
        base_url: str,
        api_key: str,
        profile_user: str,
        files: Files,
        client: httpx.AsyncClient,
        limits: Limits = LIMITS,
    ) -> None:
        self.name = f"upload_post:{endpoint_label(base_url)}:{profile_user}"
        self._api = ApiClient(client, base_url, f"Apikey {api_key}", SERVICE_NAME, limits)
        self._user = profile_user
        self._files = files

    async def submit(self, request: Json, *, key: str) -> str:
        """Upload the film, once, and return the request id under which its status is reported.

        Raises NotSent, Refused (also when the stored film is missing or was changed) or OutcomeUnknown.
        """
        post = Post.model_validate(request)
        request_id = id_of(request, key)
        with await self._open_film(post.digest) as film:
            response = await self._api.submit(
                "/upload",
                refusal_code="publication_refused",
                headers={"idempotency-key": request_id, "x-request-id": request_id},
                data=self._form_fields(post, request_id),
                files={"video": ("film.mp4", film, "video/mp4")},
            )
        return self._accepted_id(response, request_id)

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the request id, if Upload-Post knows it. Raises Unavailable."""
        request_id = id_of(request, key)
        return [request_id] if await self._get_status(request_id) else []

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the URL of the upload's status, under the id that was chosen before the call."""
        return f"{self._api.base_url}/uploadposts/status?request_id={id_of(request, key)}"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Return the status of a publication. It succeeds if at least one platform published the film.

        The facts are `platforms`, by name, with `url`, `post_id` and, if the film was only saved as a draft,
        `fallback_to_inbox`; and `failed`, by name, with a reason. Raises Unavailable.
        """
        status = await self._get_status(task_id)
        if status is None:
            # Not a failure: if the film is public after all, publishing it again would publish it twice.
            raise Unavailable("publication_not_found", f"{SERVICE_NAME} does not know this publication.")
        if status["status"] not in ("completed", "failed"):
            return Pending(parse_progress(status.get("completed"), status.get("total")))
        results = {each["platform"]: each for each in _objects(status.get("results")) if "platform" in each}
        if status["status"] == "completed" and not results:
            message = f"{SERVICE_NAME} reports a completed publication without platforms."
            raise Unavailable("unexpected_response", message)
        return await self._finish(task_id, results, Post.model_validate(request).platforms)

    async def _finish(self, task_id: str, results: dict[str, Json], requested: tuple[str, ...]) -> Failed | Succeeded:
        """Return the final result, with the links from the history."""
        published = {name: result for name, result in results.items() if result.get("success") is True}
        failed = {
            name: self._api.sanitize(results.get(name, {}).get("message")) or "no reason given"
            for name in (*requested, *results)
            if name not in published
        }
        if not published:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            return Failed("publication_failed", f"{SERVICE_NAME} could not publish: {reasons}.")
        history = await self._get_history(task_id)
        platforms = {name: _link(result, history.get(name, {})) for name, result in published.items()}
        return Succeeded(facts={"platforms": platforms, **({"failed": failed} if failed else {})})

    async def _open_film(self, digest: str) -> BinaryIO:
        try:
            film = await self._files.local_path(digest)
            return await asyncio.to_thread(film.open, "rb")
        except (OSError, Unavailable) as error:
            raise NotSent("artifact_unreadable", "The film cannot be read from the store.") from error

    def _form_fields(self, post: Post, request_id: str) -> dict[str, Any]:
        title = {"youtube_title": post.title[:100]} if post.title else {}
        switches = dict.fromkeys(("async_upload", "disable_inbox_fallback", *AI_LABELS), "true")
        texts = {"user": self._user, "title": post.text, "request_id": request_id, **title}
        return {**texts, **switches, "platform[]": list(post.platforms)}

    def _accepted_id(self, response: ApiResponse, request_id: str) -> str:
        """Return the id of an accepted upload. Raises Refused or OutcomeUnknown."""
        body = response.json()
        if not body:
            raise self._api.outcome_unknown("its response is empty")
        if body.get("success") is False and "results" not in body and "request_id" not in body:
            code, message = self._api.error_details(body, "publication_refused")
            raise Refused(code, f"{SERVICE_NAME} refused the order: {message or 'no reason given'}")
        # The status of an upload that is treated as a repetition is reported under the id of the earlier upload.
        accepted = body.get("request_id")
        return accepted if is_plain_text(accepted, 255) else request_id

    async def _get_status(self, request_id: str) -> dict[str, Any] | None:
        response = await self._api.query("GET", "/uploadposts/status", params={"request_id": request_id})
        body = response.json()
        if response.status == 404 or body.get("status") == "not_found":
            return None
        if response.status != 200 or not isinstance(body.get("status"), str):
            raise self._api.unexpected_response(response)
        return body

    async def _get_history(self, request_id: str) -> dict[str, Json]:
        """Return the history entries of this upload by platform."""
        params = {"request_id": request_id, "limit": "50"}
        response = await self._api.query("GET", "/uploadposts/history", params=params)
        if response.status != 200:
            raise self._api.unexpected_response(response)
        return {
            entry["platform"]: entry
            for entry in _objects(response.json().get("history"))
            if isinstance(entry.get("platform"), str) and entry.get("request_id", request_id) == request_id
        }


def _link(result: Json, entry: Json) -> dict[str, Any]:
    """Return URL and id of a film on one platform, from its result and its history entry."""
    is_draft = result.get("fallback_to_inbox") is True or entry.get("fallback_to_inbox") is True
    return {
        "url": entry.get("post_url") or result.get("url"),
        "post_id": entry.get("platform_post_id") or result.get("post_id"),
        **({"fallback_to_inbox": True} if is_draft else {}),
    }


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
