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
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from prompts.platforms import PLATFORMS
from providers.base import Files, Json, NotSent, Progress, Provider, Refused, Unavailable, Unconfirmed
from providers.http import ApiClient, ApiResponse, Limits, endpoint_label
from providers.publications.post import Post, fit_title, id_of
from providers.results import Failed, Pending, PollResult, Succeeded
from providers.values import error_code, is_plain_text, parse_progress

SERVICE_NAME = "Upload-Post"
LIMITS = Limits(submit_seconds=600.0)
#: The form fields that label a film as made by AI, for every platform that has such a label; TikTok has two.
AI_LABELS = (*(each.ai_flag for each in PLATFORMS.values() if each.ai_flag), "tiktok_is_ai_generated")
#: Statuses of a platform whose work is not finished.
_UNFINISHED = ("pending", "queued", "processing", "in_progress", "in progress", "uploading", "scheduled", "retrying")


class UploadPost(Provider):
    """Publishes on the accounts of the profile `profile_user`.

    A request contains `digest`, `caption`, `platforms` and optionally `hashtags`, `title` and `request_id`.
    """

    #: Longer than the longest upload: until then it may still be running.
    lookup_window = timedelta(seconds=LIMITS.submit_seconds + 120)

    limits = LIMITS

    def __init__(self, base_url: str, api_key: str, profile_user: str, files: Files, client: httpx.AsyncClient) -> None:
        self.name = f"upload_post:{endpoint_label(base_url)}:{profile_user}"
        self._api = ApiClient(client, base_url, f"Apikey {api_key}", SERVICE_NAME, self.limits)
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


class PlatformAnswers:
    """The outcome on each platform, from its own result and its history entry.

    Publishing twice is worse than not at all: a platform is published if one of the two says so, and failed only if
    one of them says that. Any other is unconfirmed.
    """

    def __init__(self, requested: Sequence[str], status: Json, sanitize: Callable[[object], str]) -> None:
        results = _results(status.get("results"))
        self.names = list(dict.fromkeys((*requested, *results)))
        self._status, self._sanitize = status, sanitize
        self._answers = {name: [results[name]] if name in results else [] for name in self.names}

    def add_history(self, body: Json, request_id: str) -> None:
        """Add the history entries of this upload. An entry without its request id belongs to another."""
        for entry in (entry for name in ("history", "uploads") for entry in _objects(body.get(name))):
            if entry.get("request_id") == request_id and entry.get("platform") in self._answers:
                self._answers[entry["platform"]].append(entry)

    @property
    def published(self) -> dict[str, dict[str, Any]]:
        """Return the links of the platforms that published the film."""
        return {name: _link(answers) for name, answers in self._answers.items() if True in map(own_word, answers)}

    @property
    def failed(self) -> dict[str, str]:
        """Return the reasons of the platforms that say that they did not publish the film."""
        return {
            name: self._reason(answers)
            for name, answers in self._answers.items()
            if {own_word(answer) for answer in answers} & {True, False} == {False}
        }

    @property
    def unconfirmed(self) -> list[str]:
        """Return the platforms that say neither."""
        return [name for name in self.names if {True, False}.isdisjoint(map(own_word, self._answers[name]))]

    @property
    def error_code(self) -> str:
        """Return the first error code of a platform, or a general one."""
        codes = (error_code(answer.get("error_code")) for answers in self._answers.values() for answer in answers)
        return next(filter(None, codes), "publication_failed")

    def facts(self, accepted: Json) -> dict[str, Any]:
        """Return the outcome as JSON. `accepted` is the answer to the upload, whose warnings count too."""
        sources = [accepted, self._status, *(answer for answers in self._answers.values() for answer in answers)]
        rest = {"failed": self.failed, "unconfirmed": self.unconfirmed, "warnings": self._warnings(sources)}
        return {"platforms": self.published, **{name: value for name, value in rest.items() if value}}

    def _reason(self, answers: Sequence[Json]) -> str:
        texts = (self._sanitize(each.get(name)) for each in answers for name in ("error_message", "message", "error"))
        reason = next(filter(None, texts), "no reason given")
        code = next(filter(None, (error_code(answer.get("error_code")) for answer in answers)), None)
        return f"{reason.rstrip('.')} ({code})" if code else reason

    def _warnings(self, sources: Sequence[Json]) -> list[str]:
        """Return the warnings as sentences, each once; one about an AI label says so first."""
        texts = [self._sanitize(_warning_text(each)) for source in sources for each in _as_list(source.get("warnings"))]
        return list(dict.fromkeys(_mark_label(text) for text in texts if text))


def _results(value: object) -> dict[str, Json]:
    """Return the results by platform: Upload-Post sends them as a list, or as an object by platform."""
    if isinstance(value, dict):
        value = [{"platform": name, **result} for name, result in value.items() if isinstance(result, dict)]
    return {each["platform"]: each for each in _objects(value) if isinstance(each.get("platform"), str)}


def own_word(result: Json) -> bool | None:
    """Return whether a platform says that it has published the film; None if it says neither.

    A platform whose work is not finished has `success: false` as well, with a status or message such as "processing".
    """
    state = str(result.get("status") or "").lower()
    if state in _UNFINISHED:
        return None
    if result.get("success") is True:
        return True
    if str(result.get("message") or "").strip(" .").lower() in _UNFINISHED:
        return None
    return False if result.get("success") is False or state in ("failed", "error") else None


def _link(answers: Sequence[Json]) -> dict[str, Any]:
    """Return URL and id of a film on one platform; those of the history come last and count first."""
    newest = list(reversed(answers))
    urls = (answer.get("post_url") or answer.get("url") for answer in newest)
    ids = (answer.get("platform_post_id") or answer.get("post_id") for answer in newest)
    is_draft = any(answer.get("fallback_to_inbox") is True for answer in answers)
    return {
        "url": next(filter(None, urls), None),
        "post_id": next(filter(None, ids), None),
        **({"fallback_to_inbox": True} if is_draft else {}),
    }


def _warning_text(warning: object) -> str:
    if not isinstance(warning, dict):
        return str(warning)
    return ": ".join(str(warning[name]) for name in ("field", "code", "message", "warning") if warning.get(name))


def _mark_label(warning: str) -> str:
    return f"The AI label was not applied: {warning}" if any(label in warning for label in AI_LABELS) else warning


def _as_list(value: object) -> list[object]:
    if isinstance(value, dict):
        return [{"field": field, "message": text} for field, text in value.items()]
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
