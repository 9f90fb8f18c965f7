"""What the emulators of vendors with contracts of their own share: tasks, faults of a create, files and webhooks.

They were written from published contracts, and were never compared with the live services.
"""

import asyncio
import json
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from sandbox.catalogue import VideoOrder
from sandbox.faults import FaultQueue
from sandbox.responses import ApiError, TruncatedResponse
from sandbox.store import Store
from sandbox.video_api import VideoApi
from sandbox.videos import Video, VideoService
from sandbox.webhook_endpoints import WebhookEndpoints, generate_secret
from sandbox.webhook_sender import WebhookSender


class VendorError(ApiError):
    """Request failure in the vendor's own form."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(status, str(body), headers=headers)
        self.body = body


class Vendor(ABC):
    """An emulated vendor: the routes below `/{name}`, and its form of errors and webhooks."""

    name: str

    def __init__(
        self,
        store: Store,
        faults: FaultQueue,
        videos: VideoService,
        sender: WebhookSender,
        video_api: VideoApi,
        endpoints: WebhookEndpoints,
    ) -> None:
        self.store, self.faults, self.videos, self.sender = store, faults, videos, sender
        self._video_api, self._endpoints = video_api, endpoints
        videos.listeners[self.name] = self.announce

    @abstractmethod
    def routes(self) -> APIRouter:
        """Return the router of the vendor's API."""

    @abstractmethod
    def error(self, status: int, message: str, code: str = "") -> VendorError:
        """Return an error in the vendor's form."""

    @abstractmethod
    def announce(self, video: Video) -> None:
        """Store the webhooks of a change, as the vendor sends them."""

    def secret(self) -> str:
        """Return the secret that signs webhooks, created when it is first needed."""
        if not (secret := self.store.get_setting("vendor_secret", "")):
            self.store.set_setting("vendor_secret", secret := generate_secret())
        return secret

    def find(self, video_id: str) -> Video | None:
        """Return a task of this vendor, or None."""
        video = self.videos.find(video_id)
        return video if video is not None and video.outcome.vendor == self.name else None

    def list_tasks(self) -> list[Video]:
        """Return the tasks of this vendor that its index shows by now, newest first."""
        now = time.time()
        tasks, _ = self.videos.list_page(1000, None, vendor=self.name)
        return [each for each in tasks if each.outcome.task["listed_at"] <= now]

    async def create(
        self, order: VideoOrder, new_id: Callable[[], str], respond: Callable[[Video], Any], **task: Any
    ) -> Response:
        """Create a task and return the response to it, subject to the faults of a create."""
        lag = float((self.faults.consume("index_lag") or {"seconds": 0})["seconds"])

        def accept() -> Video:
            values = {**task, "listed_at": time.time() + lag}
            return self.videos.create(order, video_id=new_id(), vendor=self.name, **values)

        if fault := self.faults.consume("vendor_error"):
            if fault["accept"]:
                accept()
            raise self.error(int(fault["status"]), str(fault["message"]), str(fault["code"]))
        copies = int((self.faults.consume("task_repeated") or {"copies": 1})["copies"])
        video, *_ = [accept() for _ in range(copies)]
        body = respond(video)
        if self.faults.trigger("create_accept_then_drop"):
            return TruncatedResponse(b"{", "application/json", declared_length=1000)
        if hang := self.faults.consume("create_accept_then_hang"):
            await asyncio.sleep(float(hang["seconds"]))
            raise self.error(504, "Gateway timeout.")
        if wait := self.faults.consume("webhook_before_response"):
            await self._video_api.wait_for_webhook(video, float(wait["seconds"]))
        return JSONResponse(body)

    def check_status_faults(self, video: Video) -> None:
        """Raise an error for a pending fault of the status."""
        if self.faults.trigger("status_500"):
            raise self.error(500, "SANDBOX: injected fault.")
        if self.faults.trigger("video_not_found"):
            self.videos.mark_lost(video)
            raise self.error(404, "Not found.")

    async def serve_file(self, video: Video | None) -> Response:
        """Return the file of a completed task while it is stored."""
        if video is None or not self.is_stored(video):
            raise self.error(404, "The file does not exist.")
        return await self._video_api.clip_response(video)

    @staticmethod
    def is_stored(video: Video) -> bool:
        """Return whether the task is completed and its file still exists."""
        return video.expires_at is not None and video.expires_at > time.time()

    def send(self, video: Video, body: Callable[[str], Any], state: str) -> None:
        """Store the webhook of a task that was created with a URL for it."""
        url = video.outcome.task.get("callback")
        if not url:
            return
        form = (self.faults.consume("webhook_form") or {"form": ""})["form"]
        secret = "" if form == "unsigned" else self.secret()
        endpoint = self._endpoints.register(url, secret, [], name=url)
        old, until = (generate_secret(), time.time() + 3600) if form == "two_signatures" else (None, None)
        sql = "UPDATE endpoints SET old_secret = ?, old_secret_until = ? WHERE id = ?"
        self.store.execute(sql, old, until, endpoint)
        self.sender.enqueue_task(endpoint, video.id, state, body)


async def read_object(request: Request, refuse: Callable[[int, str], ApiError]) -> dict[str, Any]:
    """Return the JSON object in the body."""
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise refuse(400, "The body is not JSON.") from error
    if not isinstance(body, dict):
        raise refuse(400, "The body is not a JSON object.")
    return body


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


def unknown_fields(fields: Mapping[str, Any], known: str) -> list[str]:
    """Return the fields that are not among the `known` names."""
    return sorted(fields.keys() - set(known.split()))
