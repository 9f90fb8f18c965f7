"""Emulator of Replicate: predictions of official models. Written from published pages, never compared with it."""

import secrets
from datetime import datetime
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from sandbox.responses import VendorError
from sandbox.routing import Routes, read_object
from sandbox.vendor_tasks import Vendor, iso_time
from sandbox.videos import Video

PAGE_SIZE = 100
MODES = {"standard": "720p", "pro": "1080p"}
STATES = {"queued": "starting", "in_progress": "processing", "completed": "succeeded", "failed": "failed"}
#: Planned ends that are states of their own.
ENDS = ("aborted", "canceled")


class ReplicateApi(Vendor):
    """Handlers of the predictions API."""

    name = "replicate"

    def routes(self) -> Routes:
        """Return the handlers; those of files need no key."""
        return {
            "GET /files/{prediction_id}/output.mp4": self.get_file,
            "POST /v1/models/{owner}/{model}/predictions": self.create_prediction,
            "GET /v1/predictions": self.list,
            "GET /v1/predictions/{prediction_id}": self.get,
            "GET /v1/webhooks/default/secret": self.get_secret,
        }

    def error(self, status: int, message: str, code: str = "") -> VendorError:
        """Return a problem document."""
        return VendorError(status, {"title": code or "Error", "status": status, "detail": message})

    async def create_prediction(self, owner: str, model: str, request: Request) -> Response:
        """Create a prediction, unless its input is invalid."""
        name, body = f"{owner}/{model}", await read_object(request, self.error)
        known, default, price = self.find_model(name)
        given = self.read_object_of(body, "input")
        resolution = MODES.get(str(given.get("mode")), str(given.get("mode", default)))
        image = self.read_image(given.get("start_image") or given.get("image"))
        order = self.read_order(name, given, known, resolution, price, image)
        task = {"input": given, "callback": body.get("webhook")}
        task["events"] = body.get("webhook_events_filter", ["start", "output", "logs", "completed"])
        return await self.create(request, order, lambda: secrets.token_hex(13), **task)

    async def list(self, created_after: str = "", created_before: str = "", cursor: str = "0") -> dict[str, Any]:
        """Return a page of predictions, newest first; the URL of the next one contains the filters."""
        try:
            since = datetime.fromisoformat(created_after or "1970-01-01T00:00:00Z").timestamp()
            until = datetime.fromisoformat(created_before or "9999-01-01T00:00:00Z").timestamp()
            start = max(0, int(cursor))
        except (ValueError, OverflowError) as error:
            raise self.error(400, "The filters must be ISO times, and the cursor a number.") from error
        found = [each for each in self.list_tasks() if since <= each.created_at < until]
        page, following = found[start : start + PAGE_SIZE], start + PAGE_SIZE
        query = f"created_after={created_after.replace('+', '%2B')}&created_before={created_before}&cursor={following}"
        base = page[0].outcome.task["base"] if page else ""
        next_url = f"{base}/v1/predictions?{query}" if following < len(found) else None
        return {"next": next_url, "previous": None, "results": [self.format(each) for each in page]}

    async def get(self, prediction_id: str) -> dict[str, Any]:
        """Return a prediction."""
        video = self.find(prediction_id)
        self.check_status_faults(video)
        form = self.faults.consume("output_form") if video.status == "completed" else None
        return self.format(video, form["form"] if form else "")

    async def get_secret(self) -> dict[str, str]:
        """Return the secret of the account's webhooks."""
        return {"key": self.secret()}

    async def get_file(self, prediction_id: str, request: Request) -> Response:
        """Return the file of a prediction; the fault `files_need_key` requires the token, or refuses it."""
        fault = self.faults.consume("files_need_key")
        if fault and bool(fault["need"]) != bool(request.headers.get("authorization")):
            raise self.error(401, "Unauthorized.")
        return await self.serve_file(prediction_id)

    def accepted(self, video: Video) -> dict[str, Any]:
        """Return the answer to a create."""
        return self.format(video)

    def format(self, video: Video, form: str = "") -> dict[str, Any]:
        """Return the prediction. Input and output are removed when its time is over."""
        task, code = video.outcome.task, video.error_code
        is_removed = video.status == "completed" and not self.is_stored(video)
        url = f"{task['base']}/files/{video.id}/output.mp4" if video.status == "completed" else None
        output = {"": url, "list": [url], "null": None}[form]
        return {
            "id": video.id,
            "model": video.model,
            "status": code if code in ENDS else STATES[video.status],
            "created_at": iso_time(video.created_at),
            "input": {} if is_removed else task["input"],
            "output": None if is_removed else output,
            "data_removed": is_removed,
            "error": None if code in (None, *ENDS) else f"{video.error_message} (E005)",
            "urls": {"get": f"{task['base']}/v1/predictions/{video.id}"},
        }

    def announce(self, video: Video) -> None:
        """Send `start` and `completed`, if they were requested."""
        event = {"queued": "start", "in_progress": None}.get(video.status, "completed")
        if event in video.outcome.task["events"]:
            self.send(video, self.format(video), "id")
