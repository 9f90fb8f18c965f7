"""Clips from Replicate. Contract: replicate.com/docs as read in November 2026; never tried with an account.

A create has no idempotency key. A lost one is found in the list of predictions, which repeats the input of each: it
contains a seed of the order's own, where the model has one. Input, output and files are removed an hour after the end.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from providers.base import Json, Unavailable
from providers.native_videos import NativeVideos, callback_url
from providers.results import Candidate, Failed, FileMissing, PollResult
from providers.video_provider import image_values
from providers.videos import MAX_CLOCK_SKEW, MAX_LIST_PAGES
from providers.webhooks import Secret, parse_secret

BASE_URL = "https://api.replicate.com/v1"
NO_IMAGE = image_values(b"")["image"]
STATES = {
    "starting": None,
    "processing": None,
    "aborted": Failed("video_aborted", "Replicate dropped the prediction before it started, free of charge."),
    "canceled": Failed("video_canceled", "The prediction was cancelled while it ran, which is charged.", True),
}


class Replicate(NativeVideos):
    """Predictions of official models, `owner/name`."""

    short_name, service_name, status_path = "replicate", "Replicate", "/predictions/{}"
    unknown_task_id = "0" * 26
    file_hosts = ("replicate.delivery", "*.replicate.delivery")
    states, done, gives_secrets = STATES, "succeeded", True
    lookup_proof = (
        "Replicate lists its predictions, and for one hour their input, by which this order is looked up. Later it"
        " removes the input: then the list shows that something was ordered, but not what."
    )

    _secrets: Sequence[Secret] = ()

    async def check(self) -> None:
        """Read a page of the list. Raises Unavailable."""
        await self._list_page("predictions")

    async def fetch_secrets(self) -> Sequence[Secret]:
        """Return the secret of the account's webhooks, read once. Raises Unavailable."""
        if not self._secrets:
            response = await self._api.query("GET", "/webhooks/default/secret")
            try:
                self._secrets = (parse_secret(str(response.json()["key"])),)
            except (KeyError, ValueError) as error:
                raise self._api.unexpected_response(response) from error
        return self._secrets

    def _create(self, request: Json, key: str) -> tuple[str, dict[str, Any]]:
        # `Prefer: wait` would hold the connection, and is not sent.
        body: dict[str, Any] = {"input": self._input(request, key)}
        if callback := callback_url(request, key):
            body |= {"webhook": callback, "webhook_events_filter": ["start", "completed"]}
        return f"/models/{quote(request['model'])}/predictions", {"json": body}

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the ids of the listed predictions with exactly this model and input, oldest first.

        None is found once Replicate has removed the input: what is left is among the `candidates`. Raises Unavailable.
        """
        # In which form the list repeats an image is not documented: it is not compared.
        given = self._input({**request, "start": image_values(b"")} if request.get("image") else request, key)
        images = {name: value for name, value in given.items() if value == NO_IMAGE}
        expected, listed = json.dumps(given, sort_keys=True), await self._listed(request, since)
        inputs = {each["id"]: each["input"] for each in listed if isinstance(each.get("input"), dict)}
        return [each for each, found in inputs.items() if json.dumps({**found, **images}, sort_keys=True) == expected]

    async def candidates(self, request: Json, *, since: datetime) -> list[Candidate]:
        """Return the predictions of the model since then whose input was removed, oldest first. Raises Unavailable."""
        return [
            Candidate(each["id"], str(each.get("status")), _created_at(each), f"https://replicate.com/p/{each['id']}")
            for each in await self._listed(request, since)
            if not each.get("input")
        ]

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the page of the account's predictions."""
        return "https://replicate.com/predictions"

    async def _listed(self, request: Json, since: datetime) -> list[Json]:
        """Return the predictions of the model since then, oldest first."""
        after, found = (since - MAX_CLOCK_SKEW).astimezone(UTC), list[Json]()
        path = f"predictions?created_after={quote(after.isoformat())}"
        for _ in range(MAX_LIST_PAGES):
            page, path = await self._list_page(path)
            # The filter is applied here as well: what exactly theirs includes is not documented.
            found += [each for each in page if each.get("model") == request["model"] and _created_at(each) >= after]
            if not path:
                return sorted(found, key=_created_at)
        raise Unavailable("video_list_too_long", "Replicate lists too many predictions to search.")

    async def _list_page(self, path: str) -> tuple[list[Json], str]:
        """Return a page of the list, newest first, and the path of the next one, if any."""
        response = await self._api.query("GET", f"/{path}")
        base = f"{self._api.base_url}/"
        entries, following = response.json().get("results"), str(response.json().get("next") or base)
        # The token is sent to no other host than the configured one.
        if response.status != 200 or not isinstance(entries, list) or not following.startswith(base):
            raise self._api.unexpected_response(response)
        predictions = [each for each in entries if isinstance(each, dict) and isinstance(each.get("id"), str)]
        return list[Json](predictions), following.removeprefix(base)

    async def _clip(self, task: Json, request: Json, into: Path) -> PollResult:
        if task.get("data_removed"):
            return self._file_missing("has removed its file, as it does one hour after the end")
        output = task.get("output")
        url = output[0] if isinstance(output, list) and output else output
        result = await self._fetch(url, request, into)
        if isinstance(result, FileMissing) and isinstance(url, str):
            # By a comment in their client the hosts of files require the token; only those hosts ever receive it.
            result = await self._fetch(url, request, into, {"authorization": self._api.authorization})
        return result


def _created_at(prediction: Json) -> datetime:
    """Return the time of creation; the start of the epoch if it is not reported."""
    try:
        created_at = datetime.fromisoformat(prediction["created_at"])
    except (KeyError, TypeError, ValueError):
        return datetime.fromtimestamp(0, UTC)
    return created_at if created_at.tzinfo else created_at.replace(tzinfo=UTC)
