"""What the emulators of vendors with contracts of their own share: tasks, faults of a create, files and webhooks.

They were written from published contracts, and were never compared with the live services.
"""

import base64
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.catalogue import VIDEO_MODELS, VideoOrder
from sandbox.responses import TruncatedResponse, VendorError
from sandbox.routing import Routes, build_router, require_bearer_token
from sandbox.store import Store
from sandbox.video_api import VideoApi
from sandbox.videos import Video
from sandbox.webhook_endpoints import WebhookEndpoints, generate_secret


class TaskInput(BaseModel):
    """The fields of a task that all vendors have; others are kept as they are."""

    model_config = ConfigDict(strict=True)

    prompt: str = Field(min_length=1)
    duration: int = Field(5, ge=1)
    aspect_ratio: str = "16:9"
    resolution: str = ""


class Vendor(ABC):
    """An emulated vendor: the routes below `/{name}`, and its form of errors and webhooks."""

    name: str

    #: The HTTP status of invalid parameters.
    invalid_status = 422

    def __init__(self, store: Store, video_api: VideoApi, endpoints: WebhookEndpoints) -> None:
        self.store, self.faults, self.videos = store, video_api.faults, video_api.videos
        self._video_api, self._endpoints = video_api, endpoints
        self.videos.listeners[self.name] = self.announce
        routes = self.routes()
        files = {route: handler for route, handler in routes.items() if route.startswith("GET /files/")}
        keyed = {route: handler for route, handler in routes.items() if route not in files}
        self.router = build_router(f"/{self.name}", files)
        self.router.include_router(build_router("", keyed, self.check_key))

    @abstractmethod
    def routes(self) -> Routes:
        """Return the handlers by method and path; those below `/files` need no key."""

    async def check_key(self, request: Request) -> None:
        """Raise an error unless the request has a key, by default a bearer token."""
        await require_bearer_token(request)

    @abstractmethod
    def error(self, status: int, message: str, code: str = "") -> VendorError:
        """Return an error in the vendor's form."""

    @abstractmethod
    def accepted(self, video: Video) -> dict[str, Any]:
        """Return the answer to a create."""

    @abstractmethod
    def announce(self, video: Video) -> None:
        """Store the webhooks of a change, as the vendor sends them."""

    def secret(self) -> str:
        """Return the secret that signs webhooks, created when it is first needed."""
        if not (secret := self.store.get_setting("vendor_secret", "")):
            self.store.set_setting("vendor_secret", secret := generate_secret())
        return secret

    def find(self, video_id: str) -> Video:
        """Return a task of this vendor. Raises the vendor's error."""
        video = self.videos.find(video_id)
        if video is None or video.outcome.vendor != self.name:
            raise self.error(404, "Not found.")
        return video

    def find_model(self, name: str) -> tuple[str, Any, float]:
        """Return what video_models.toml says about a model of this vendor. Raises the vendor's error."""
        if name not in VIDEO_MODELS[self.name]:
            raise self.error(404, f"The model {name} does not exist.")
        fields, middle, price = VIDEO_MODELS[self.name][name]
        return fields, middle, price

    def read_object_of(self, body: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return the object in a field, empty without one. Raises the vendor's error."""
        value = body.get(name, {})
        if not isinstance(value, dict):
            raise self.error(self.invalid_status, f"{name} must be an object.")
        return value

    def read_image(self, text: object) -> bytes:
        """Return the image of a Base64 text or data URI; none without one. Raises the vendor's error."""
        try:
            return base64.b64decode(str(text or "").rpartition("base64,")[2], validate=True)
        except ValueError:
            raise self.error(self.invalid_status, "The image is not Base64.") from None

    def read_order(
        self, model: str, fields: Mapping[str, Any], known: str, resolution: str, usd: float, image: bytes = b""
    ) -> VideoOrder:
        """Return the order of a task with no other than the `known` fields. Raises the vendor's error.

        `resolution` counts where the fields name none, and `usd` is the price per second.
        """
        try:
            task = TaskInput.model_validate(dict(fields))
        except ValidationError as error:
            raise self.error(self.invalid_status, f"Validation failed: {error.errors()[0]['loc']}.") from error
        size, unknown = pixel_size(task.resolution or resolution, task.aspect_ratio), fields.keys() - set(known.split())
        if size is None or unknown:
            names = sorted(unknown) or "resolution, aspect_ratio"
            raise self.error(self.invalid_status, f"Validation failed: {names}.")
        return VideoOrder(model, task.prompt, str(task.duration), size, usd, image)

    def list_tasks(self) -> list[Video]:
        """Return the tasks of this vendor that its index shows by now, newest first."""
        now = time.time()
        tasks, _ = self.videos.list_page(1000, None, vendor=self.name)
        return [each for each in tasks if each.outcome.task["listed_at"] <= now]

    async def create(self, request: Request, order: VideoOrder, new_id: Callable[[], str], **task: Any) -> Response:
        """Create a task and return the response to it, subject to the faults of a create."""
        base = f"{request.url.scheme}://{request.url.netloc}/{self.name}"  # as the client reaches this vendor
        lag = float((self.faults.consume("index_lag") or {"seconds": 0})["seconds"])

        def accept() -> Video:
            known = {**task, "base": base, "listed_at": time.time() + lag}
            return self.videos.create(order, video_id=new_id(), vendor=self.name, **known)

        if fault := self.faults.consume("vendor_error"):
            if fault["accept"]:
                accept()
            raise self.error(int(fault["status"]), str(fault["message"]), str(fault["code"]))
        copies = int((self.faults.consume("task_repeated") or {"copies": 1})["copies"])
        video, *_ = [accept() for _ in range(copies)]
        body = self.accepted(video)
        if self.faults.trigger("create_accept_then_drop"):
            return TruncatedResponse(b"{", "application/json", declared_length=1000)
        await self._video_api.delay_response(video, self.error(504, "Gateway timeout."))
        return JSONResponse(body)

    def check_status_faults(self, video: Video) -> None:
        """Raise an error for a pending fault of the status."""
        if self.faults.trigger("status_500"):
            raise self.error(500, "SANDBOX: injected fault.")
        if self.faults.trigger("video_not_found"):
            self.videos.mark_lost(video)
            raise self.error(404, "Not found.")

    async def serve_file(self, video_id: str) -> Response:
        """Return the file of a completed task while it is stored."""
        video = self.find(video_id)
        if not self.is_stored(video):
            raise self.error(404, "The file does not exist.")
        return await self._video_api.clip_response(video)

    @staticmethod
    def is_stored(video: Video) -> bool:
        """Return whether the task is completed and its file still exists."""
        return video.expires_at is not None and video.expires_at > time.time()

    def send(self, video: Video, body: Mapping[str, Any], id_field: str) -> None:
        """Store the webhook of a task that was created with a URL for it; the id of the task is in `id_field`."""
        url = video.outcome.task.get("callback")
        if not url:
            return
        form = (self.faults.consume("webhook_form") or {"form": ""})["form"]
        secret = "" if form == "unsigned" else self.secret()
        endpoint = self._endpoints.register(url, secret, [], name=url)
        old, until = (generate_secret(), time.time() + 3600) if form == "two_signatures" else (None, None)
        sql = "UPDATE endpoints SET old_secret = ?, old_secret_until = ? WHERE id = ?"
        self.store.execute(sql, old, until, endpoint)
        self._video_api.sender.store_deliveries(
            [endpoint], video.id, f"video.{video.status}", lambda message: {**body, id_field: message.video_id}
        )


def pixel_size(resolution: str, aspect_ratio: str) -> str | None:
    """Return width and height of a resolution such as "720p" and an aspect ratio, or None for an unknown one.

    Any resolution is accepted: small clips save time in tests.
    """
    lines, ratio = re.fullmatch(r"([1-9]\d{2,3})p", resolution), re.fullmatch(r"(\d{1,2}):(\d{1,2})", aspect_ratio)
    if lines is None or ratio is None:
        return None
    short, (width, height) = int(lines[1]), (int(ratio[1]), int(ratio[2]))
    unit = short / min(width, height)
    return f"{math.floor(width * unit)}x{math.floor(height * unit)}"


def iso_time(timestamp: float) -> str:
    """Return a Unix time as vendors write it."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat().replace("+00:00", "Z")
