"""Clips from Higgsfield. Contract: docs.higgsfield.ai as read in November 2026; never tried with an account.

A create carries the key of the order as `Idempotency-Key`: the same call again returns the first request and charges
nothing. It must be the same in everything, the URL for webhooks included. Files are kept for seven days.
"""

from datetime import timedelta
from decimal import ROUND_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import quote

from providers.base import Json, NotSent
from providers.http import ApiResponse
from providers.native_videos import NativeVideos, callback_url
from providers.results import Failed, PollResult

BASE_URL = "https://api.higgsfield.ai"
STATES = {
    "queued": None,
    "in_progress": None,
    "nsfw": Failed("moderation_blocked", "The moderation of Higgsfield blocked the clip, free of charge."),
    "canceled": Failed("video_canceled", "The request was cancelled before it started, free of charge."),
}


class Higgsfield(NativeVideos):
    """Requests to endpoints such as `kling-video/v3.0/std/text-to-video`: their paths are the names of the models."""

    short_name, service_name, scheme = "higgsfield", "Higgsfield", "Key"
    status_path, id_names, no_credit_status = "/requests/{}/status", ("request_id",), 403
    states, done = STATES, "completed"
    #: How long a key is recognised is not published.
    replayable = timedelta(hours=1)
    lookup_proof = (
        "Higgsfield returns the first request of a key again. In the hour after the call the order was submitted again"
        " under its key, without an answer. There is no list of requests: look in the console of Higgsfield."
    )

    async def check(self) -> None:
        """Ask for a request that does not exist, which needs a valid key. Raises Unavailable."""
        await self._api.query("GET", self.status_path.format(self.unknown_task_id), expected=(404,))

    async def quote(self, request: Json) -> Decimal | None:
        """Return the price in USD; None if Higgsfield describes it in words or not at all. Raises Unavailable."""
        path, order = f"/estimate/{quote(request['model'])}", self._input(request, "")
        response = await self._api.query("POST", path, json=order, expected=(200, 404))
        try:
            usd = Decimal(str(response.json().get("usd"))).quantize(Decimal("0.001"), ROUND_UP)
        except InvalidOperation:
            return None
        # A quote of nothing would pass every cap.
        return usd if usd.is_finite() and usd > 0 else None

    def _create(self, request: Json, key: str) -> tuple[str, dict[str, Any]]:
        callback = callback_url(request, key)
        params = {"hf_webhook": callback} if callback else None
        content = {"json": self._input(request, key), "params": params, "headers": {"idempotency-key": key}}
        return f"/{quote(request['model'])}", content

    async def _accepted(self, response: ApiResponse, key: str) -> str:
        if response.status == 400 and "concurrent" in str(response.json().get("detail")):
            raise NotSent("rate_limited", f"{self.service_name}: too many requests of the account are in progress.")
        return await super()._accepted(response, key)

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return where the requests of the account are shown."""
        return f"the requests in the console of Higgsfield (Idempotency-Key {key})"

    async def _clip(self, task: Json, request: Json, into: Path) -> PollResult:
        video = task.get("video")
        return await self._fetch(video.get("url") if isinstance(video, dict) else None, request, into)
