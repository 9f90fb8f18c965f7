"""Emulator of Higgsfield: requests under idempotency keys. Written from published pages, never compared with it."""

import json
import uuid
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from sandbox.catalogue import VideoOrder
from sandbox.responses import VendorError
from sandbox.routing import Routes, read_object
from sandbox.vendor_tasks import Vendor, iso_time
from sandbox.videos import Video

USD_PER_CREDIT = 0.0625
#: Planned ends that are states of their own.
ENDS = {"moderation_blocked": "nsfw", "nsfw": "nsfw", "canceled": "canceled"}


class HiggsfieldApi(Vendor):
    """Handlers of the requests API."""

    name = "higgsfield"

    def routes(self) -> Routes:
        """Return the handlers; those of files need no key."""
        return {
            "GET /files/{video_id}.mp4": self.serve_file,
            "GET /requests/{request_id}/status": self.get_status,
            "POST /estimate/{endpoint:path}": self.estimate,
            "POST /{endpoint:path}": self.create_request,
        }

    async def check_key(self, request: Request) -> None:
        """Raise an error unless the request has a key and its secret; any are accepted but "wrong-…"."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Key" or not all(key.partition(":")) or key.startswith("wrong-"):
            raise self.error(401, "Invalid credentials.")

    def error(self, status: int, message: str, code: str = "") -> VendorError:
        """Return an error with `detail`, and `code` if there is one."""
        return VendorError(status, {"detail": message, **({"code": code} if code else {})})

    async def create_request(self, endpoint: str, request: Request, hf_webhook: str | None = None) -> Response:
        """Create a request, or return the first one under the same idempotency key."""
        body = await read_object(request, self.error)
        expires_after = request.headers.get("hf-expires-after")
        call = json.dumps([endpoint, body, hf_webhook, expires_after], sort_keys=True)
        task: dict[str, Any] = {"key": request.headers.get("idempotency-key"), "call": call, "callback": hf_webhook}
        for first in self.list_tasks():
            if task["key"] and first.outcome.task["key"] == task["key"]:
                if first.outcome.task["call"] != call:
                    raise self.error(422, "Idempotency-Key was used for another request.")
                return JSONResponse(self.accepted(first))
        order = self._order(endpoint, body)
        return await self.create(request, order, lambda: str(uuid.uuid4()), **task)

    def _order(self, endpoint: str, body: dict[str, Any]) -> VideoOrder:
        known, tier, price = self.find_model(endpoint)
        is_silent = body.get("sound") == "off" or body.get("generate_audio") is False
        return self.read_order(endpoint, body, known, tier, price * (2 / 3 if is_silent else 1))

    async def estimate(self, endpoint: str, request: Request) -> dict[str, str]:
        """Return the price of a request as decimal texts, or in words."""
        usd = self._order(endpoint, await read_object(request, self.error)).price_usd
        if self.faults.trigger("quote_in_words"):
            return {"description": "Billed per second of video."}
        if self.faults.trigger("quote_missing"):
            raise self.error(404, "Not Found")
        if fault := self.faults.consume("quote_usd"):
            usd = float(fault["usd"])
        return {"credits": f"{usd / USD_PER_CREDIT:.3f}", "usd": f"{usd:.3f}"}

    async def get_status(self, request_id: str) -> dict[str, Any]:
        """Return the state of a request; the URL of its file stays when the file is gone."""
        video = self.find(request_id)
        self.check_status_faults(video)
        return self.format(video)

    def accepted(self, video: Video) -> dict[str, Any]:
        """Return the answer to a create."""
        base = f"{video.outcome.task['base']}/requests/{video.id}"
        status = {"status": "queued", "request_id": video.id}
        return {**status, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}

    def format(self, video: Video) -> dict[str, Any]:
        """Return the state of a request."""
        body: dict[str, Any] = {"request_id": video.id, "status": ENDS.get(video.error_code or "", video.status)}
        if body["status"] == "failed":
            body["error"] = video.error_message
        if video.expires_at is not None:
            body["video"] = {"url": f"{video.outcome.task['base']}/files/{video.id}.mp4"}
            body["expires_at"] = iso_time(video.expires_at)
        return body

    def announce(self, video: Video) -> None:
        """Send the end of a request; its output is in `payload` there. A cancelled one is not announced."""
        state = self.format(video)
        if state["status"] in ("completed", "failed", "nsfw"):
            event = {"error": None, **state, "payload": {"video": state.pop("video", None)}}
            event.pop("video", None)
            self.send(video, event, "request_id")
