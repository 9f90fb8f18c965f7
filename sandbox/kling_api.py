"""Emulator of Kling's own API: tasks with external ids. Written from published pages, never compared with it."""

import math
import secrets
import time
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from PIL import Image

from sandbox.responses import VendorError
from sandbox.routing import Routes, read_object
from sandbox.vendor_tasks import Vendor
from sandbox.videos import Video

USD_PER_UNIT = 0.14
URL_SECONDS = 600
STATES = {"queued": "submitted", "in_progress": "processing", "completed": "succeeded", "failed": "failed"}
#: The numbers of errors that the emulator reports itself, by HTTP status.
CODES = {400: "1201", 401: "1002", 403: "1103", 404: "1202", 500: "5000", 503: "5001", 504: "5002"}
POLICY = "The output was blocked by content policy."


class KlingApi(Vendor):
    """Handlers of the tasks API."""

    name = "kling"
    invalid_status = 400

    def routes(self) -> Routes:
        """Return the handlers; those of files need no key."""
        return {
            "GET /files/{task_id}/{expires}.mp4": self.get_file,
            "POST /text-to-video/{model}": self.create_task,
            "POST /image-to-video/{model}": self.create_task,
            "GET /tasks": self.query,
        }

    def error(self, status: int, message: str, code: str = "") -> VendorError:
        """Return an error with its number."""
        return VendorError(status, {"code": int(code or CODES.get(status, "5000")), "message": message})

    async def create_task(self, model: str, request: Request) -> Response:
        """Create a task, unless its external id was used before."""
        body = await read_object(request, self.error)
        known, silent_price, price = self.find_model(model)
        settings, options = self.read_object_of(body, "settings"), self.read_object_of(body, "options")
        fields, image = {**settings, "prompt": body.get("prompt")}, b""
        if request.url.path.split("/")[2] == "image-to-video":
            known = known.replace("aspect_ratio ", "")
            fields["prompt"], image, fields["aspect_ratio"] = self._read_contents(body)
        if "aspect_ratio" in settings.keys() - set(known.split()):
            raise self.error(400, "An image determines the aspect ratio.")
        rate = silent_price if settings.get("audio", "off") == "off" else price
        order = self.read_order(model, fields, f"prompt aspect_ratio {known}", "720p", rate, image)
        caller_id = options.get("external_task_id")
        tasks, _ = self.videos.list_page(1000, None, vendor=self.name)
        if caller_id and caller_id in [each.outcome.task["external_id"] for each in tasks]:
            raise self.error(400, "external_task_id already exists.")
        task = {"external_id": caller_id, "callback": options.get("callback_url"), "usd": order.price_usd}
        return await self.create(request, order, lambda: str(8 * 10**17 + secrets.randbelow(10**17)), **task)

    def _read_contents(self, body: Mapping[str, Any]) -> tuple[str, bytes, str]:
        """Return the prompt, the first frame and its aspect ratio: the video gets its shape."""
        try:
            parts = {part["type"]: part for part in body["contents"]}
            prompt, image = parts["prompt"]["text"], self.read_image(parts["first_frame"]["url"])
            with Image.open(BytesIO(image)) as opened:
                shape = math.gcd(*opened.size)
                return prompt, image, f"{opened.width // shape}:{opened.height // shape}"
        except (KeyError, TypeError, OSError) as error:
            raise self.error(400, "Invalid contents.") from error

    async def query(self, task_ids: str = "", external_task_ids: str = "") -> dict[str, Any]:
        """Return tasks by their ids, or by those of the caller; unknown ones are left out."""
        if bool(task_ids) == bool(external_task_ids):
            raise self.error(400, "Either task_ids or external_task_ids.")
        wanted = (task_ids or external_task_ids).split(",")
        found = [
            each for each in self.list_tasks() if (each.id if task_ids else each.outcome.task["external_id"]) in wanted
        ]
        for video in found:
            self.check_status_faults(video)
        return {"code": 0, "message": "SUCCEED", "data": [self.format(each) for each in found]}

    async def get_file(self, task_id: str, expires: str) -> Response:
        """Return the file under a URL that is still valid."""
        if not expires.isdecimal():
            raise self.error(404, "The file does not exist.")
        if float(expires) < time.time():
            raise self.error(403, "The URL has expired.")
        return await self.serve_file(task_id)

    def accepted(self, video: Video) -> dict[str, Any]:
        """Return the answer to a create."""
        data = {**self._times(video), "id": video.id, "status": "submitted"}
        return {"code": 0, "message": "SUCCEED", "data": {**data, "external_id": video.outcome.task["external_id"]}}

    def format(self, video: Video) -> dict[str, Any]:
        """Return the task, with a fresh URL of its file."""
        expires = int(time.time()) + (-1 if self.faults.trigger("url_expired") else URL_SECONDS)
        url = f"{video.outcome.task['base']}/files/{video.id}/{expires}.mp4"
        outputs = [{"type": "video", "id": "1", "url": url, "duration": video.seconds}] if self.is_stored(video) else []
        usd = video.outcome.task["usd"]
        bill = {"charge_type": "cash", "cash_type": "balance", "amount": f"{usd:.3f}", "currency": "USD"}
        if self.faults.trigger("billed_in_units"):
            bill = {"charge_type": "unit", "amount": f"{usd / USD_PER_UNIT:.2f}", "package_type": "video"}
        message = POLICY if video.error_code == "moderation_blocked" else video.error_message or ""
        return {
            **self._times(video),
            "id": video.id,
            "status": STATES[video.status],
            "message": message,
            "external_id": video.outcome.task["external_id"],
            "outputs": outputs,
            "billing": [bill] if video.status == "completed" or video.error_code == "charged" else [],
        }

    def announce(self, video: Video) -> None:
        """Send every change of the state, one of them twice."""
        for _ in range(2 if video.status == "in_progress" else 1):
            task = self.format(video)
            if self.faults.trigger("webhook_legacy"):
                self.send(video, {"task_status": task["status"]}, "task_id")
            else:
                self.send(video, task, "id")

    @staticmethod
    def _times(video: Video) -> dict[str, int]:
        return {"create_time": int(video.created_at * 1000), "update_time": int(time.time() * 1000)}
