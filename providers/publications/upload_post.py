"""Upload-Post, a service that publishes a film on several platforms.

Contract: docs.upload-post.com as of October 2026. The client chooses the request id before the call, so an order of
unknown outcome is looked up by it; the idempotency key deduplicates repeated calls.

A scheduled film is uploaded at its time, and is not handed over before with a `scheduled_date`: what is kept here can
be cancelled until then, and is looked up and posted once like any other. Of an upload that Upload-Post schedules it is
not documented that its own request id finds it, or that a cancellation there says whether it was in time.

The status `failed` of a request also means that "no activity has been recorded for over 1 hour"
(docs.upload-post.com/api/upload-status), whatever the platforms did: only what a platform's own result or history
entry says counts.
"""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from prompts.platforms import PLATFORMS
from providers.base import Files, Json, NotSent, Progress, Provider, Refused, Unavailable, Unconfirmed
from providers.http import ApiClient, ApiResponse, Limits, endpoint_label
from providers.publications.post import Post, fit_title, id_of
from providers.publications.upload_post_answers import AI_LABELS, PlatformAnswers
from providers.results import Failed, Pending, PollResult, Succeeded
from providers.values import is_plain_text, parse_progress

SERVICE_NAME = "Upload-Post"
LIMITS = Limits(submit_seconds=600.0)


class UploadPost(Provider):
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
        self._user, self._files = profile_user, files
        #: Answers to uploads of this process that contain warnings, by request id. A status may repeat them.
        self._accepted: dict[str, Json] = {}

    async def check(self) -> None:
        """Read the history of posts. Raises Unavailable."""
        response = await self._api.query("GET", "/uploadposts/history", params={"limit": "1"})
        if response.status != 200 or not response.json():
            raise self._api.unexpected_response(response)

    async def submit(self, request: Json, *, key: str) -> str:
        """Upload the film, once, and return the request id of its status. Raises NotSent, Refused or OutcomeUnknown."""
        post = Post.model_validate(request)
        request_id = id_of(request, key)
        headers = {"idempotency-key": request_id, "x-request-id": request_id}
        titles = {f"{name}_title": title for name in post.platforms if (title := fit_title(post.title, name))}
        places = {str(PLATFORMS[name].destination): place for name, place in post.destinations.items()}
        switches = dict.fromkeys(("async_upload", "disable_inbox_fallback", *AI_LABELS), "true")
        texts = {"user": self._user, "title": post.text, "request_id": request_id, **titles, **places}
        fields: dict[str, Any] = {**texts, **switches, "platform[]": list(post.platforms)}
        with await self._open_film(post.digest) as film:
            files = {"video": ("film.mp4", film, "video/mp4")}
            response = await self._api.submit("/upload", headers=headers, data=fields, files=files)
        return self._accepted_id(response, request_id)

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the request id, if Upload-Post knows it. Raises Unavailable."""
        request_id = id_of(request, key)
        return [request_id] if await self._get_status(request_id) else []

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the URL of the upload's status, under the id that was chosen before the call."""
        return f"{self._api.base_url}/uploadposts/status?request_id={id_of(request, key)}"

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Return the status of a publication. It succeeds if each platform has published the film or refused it.

        The facts are `platforms`, by name, with `url`, `post_id` and, if the film was only saved as a draft,
        `fallback_to_inbox`; `failed`, by name, with a reason; and `warnings`, as sentences. Raises Unavailable, and
        Unconfirmed when a platform has said neither.
        """
        status = await self._get_status(task_id)
        if status is None:
            # Not a failure: if the film is public after all, publishing it again would publish it twice.
            raise Unavailable("publication_not_found", f"{SERVICE_NAME} does not know this publication.")
        if status["status"] not in ("completed", "failed"):
            return Pending(parse_progress(status.get("completed"), status.get("total")))
        answers = PlatformAnswers(Post.model_validate(request).platforms, status, self._api.sanitize)
        if len(answers.failed) < len(answers.names):
            params = {"request_id": task_id, "limit": "50"}
            response = await self._api.query("GET", "/uploadposts/history", params=params, expected=(200,))
            answers.add_history(response.json(), task_id)
        facts = answers.facts(self._accepted.get(task_id, {}))
        if unconfirmed := answers.unconfirmed:
            message = f"{SERVICE_NAME} does not say whether the film was published on {', '.join(unconfirmed)}."
            raise Unconfirmed("publication_unconfirmed", message, facts)
        if not answers.published:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in answers.failed.items())
            return Failed(answers.error_code, f"{SERVICE_NAME} could not publish: {reasons}.")
        return Succeeded(facts=facts)

    async def _open_film(self, digest: str) -> BinaryIO:
        try:
            film = await self._files.local_path(digest)
            return await asyncio.to_thread(film.open, "rb")
        except (OSError, Unavailable) as error:
            raise NotSent("artifact_unreadable", "The film cannot be read from the store.") from error

    def _accepted_id(self, response: ApiResponse, request_id: str) -> str:
        """Return the id under which the status of an upload is reported. Raises as `submit` does."""
        if error := self._api.submit_error(response, "publication_refused"):
            raise error
        body = response.json()
        if not body:
            raise self._api.outcome_unknown("its response is empty")
        if body.get("success") is False and "results" not in body and "request_id" not in body:
            code, message = self._api.error_details(body, "publication_refused")
            raise Refused(code, f"{SERVICE_NAME} refused the order: {message or 'no reason given'}")
        # The status of an upload that is treated as a repetition is reported under the id of the earlier upload.
        accepted = body.get("request_id")
        request_id = accepted if is_plain_text(accepted, 255) else request_id
        if body.get("warnings"):
            self._accepted[request_id] = body
        return request_id

    async def _get_status(self, request_id: str) -> dict[str, Any] | None:
        response = await self._api.query("GET", "/uploadposts/status", params={"request_id": request_id})
        body = response.json()
        if response.status == 404 or body.get("status") == "not_found":
            return None
        if response.status != 200 or not isinstance(body.get("status"), str):
            raise self._api.unexpected_response(response)
        return body
