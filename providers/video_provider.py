"""The interface of a provider of clips, and the image that a clip starts from, as services take it."""

import asyncio
import random
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

import httpx

from providers.base import ArtifactMissing, Files, Json, NotSent, Provider, Refused, Unavailable
from providers.http import ApiClient, Limits, endpoint_label
from providers.public_hosts import CheckedClient
from providers.results import Succeeded
from providers.values import is_plain_text
from providers.video_profiles import Profile
from providers.webhooks import Secret, VideoEvent, read_video_event

#: The shortest and the longest pause between two polls of a clip that a webhook announces.
ANNOUNCED_POLL_SECONDS = (30.0, 60.0)


#: The kind of the stored files that clips can start from, and the type of all of them.
IMAGE_KIND, IMAGE_TYPE = "image", "image/jpeg"


class VideoProvider(Provider):
    """A service that generates clips."""

    #: The id of no task, in the form of the service's own.
    unknown_task_id: str = "00000000-0000-4000-8000-000000000000"
    short_name: ClassVar[str]
    service_name: ClassVar[str]
    #: The scheme of the API key.
    scheme: ClassVar[str] = "Bearer"
    limits: ClassVar[Limits]
    #: The names of the id of a task.
    id_names: ClassVar[Sequence[str]] = ("id",)

    def __init__(
        self,
        base_url: str,
        api_key: str,
        profiles: Sequence[Profile],
        client: httpx.AsyncClient,
        accept: Callable[..., Awaitable[Succeeded]],
        file_client: CheckedClient | None = None,
        *,
        stored: Files | None = None,
        is_announced: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """`accept` validates a delivered clip, as `accept_clip` of `providers/media/intake.py` does.

        `file_client` downloads it from other hosts, `stored` are the images that clips start
        from, and `is_announced` means that webhooks are configured.
        """
        self.name = f"{self.short_name}:{endpoint_label(base_url)}"
        authorization = f"{self.scheme} {api_key}"
        self._api = ApiClient(client, base_url, authorization, self.service_name, limits or self.limits)
        self._profiles = {model: profile for profile in reversed(profiles) for model in profile.models}
        self._accept, self._file_client, self._stored = accept, file_client, stored
        self._is_announced, used = is_announced, self._profiles.values()
        self.lookup_window = timedelta(seconds=max((each.lookup_window_seconds for each in used), default=120))
        hours = [each.result_lifetime_hours for each in used if each.result_lifetime_hours]
        self.result_lifetime = timedelta(hours=min(hours)) if hours else None
        self._poll_seconds = min((each.poll_seconds for each in used if each.poll_seconds), default=None)

    def poll_pause(self, polls: int) -> timedelta:
        """Return the shortest pause of the profiles; without any a clip that a webhook announces is polled rarely."""
        if self._poll_seconds:
            return timedelta(seconds=self._poll_seconds)
        if self._is_announced:
            return timedelta(seconds=random.uniform(*ANNOUNCED_POLL_SECONDS))  # noqa: S311 - to spread the polls
        return super().poll_pause(polls)

    def read_event(self, body: bytes) -> VideoEvent:
        """Return the event in the body of a verified webhook, by default in the open contract. Raises InvalidEvent."""
        return read_video_event(body)

    async def fetch_secrets(self) -> Sequence[Secret]:
        """Return the secrets of webhooks that the service gives out itself. Raises Unavailable."""
        return ()

    async def quote(self, request: Json) -> Decimal | None:
        """Return the price of an order in USD, where the service quotes one. Raises Unavailable."""
        return None

    def _id_of(self, task: Json) -> str:
        """Return the id in the response to a create. Raises OutcomeUnknown without one."""
        task_id = next((task[name] for name in self.id_names if name in task), None)
        if not is_plain_text(task_id):
            raise self._api.outcome_unknown("its response contains no id")
        return task_id

    async def _read_image(self, request: Json, profile: Profile) -> bytes | None:
        """Return the image that an order names, or None. Raises NotSent, and Refused, also if the model takes none."""
        if not request.get("image"):
            return None
        if not profile.start_image:
            raise Refused("video_image_unsupported", f"{request['model']} takes no start image.")
        if self._stored is None:
            raise ArtifactMissing(request["image"])
        try:
            path = await self._stored.local_path(request["image"])
        except Unavailable as error:
            raise NotSent(error.code, error.message) from error
        return await asyncio.to_thread(path.read_bytes)


def image_values(image: bytes) -> dict[str, str]:
    """Return the values of the names `$image` and `$base64` in a profile."""
    text = b64encode(image).decode()
    return {"image": f"data:{IMAGE_TYPE};base64,{text}", "base64": text}


def fill(part: Any, values: Mapping[str, Any]) -> Any:
    """Return a part of a template with `$name` replaced by the value of that name. Raises KeyError."""
    if isinstance(part, dict):
        return {name: fill(each, values) for name, each in part.items()}
    if isinstance(part, list):
        return [fill(each, values) for each in part]
    return values[part[1:]] if isinstance(part, str) and part.startswith("$") else part
