"""The interface of a provider of clips."""

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import ClassVar

import httpx

from providers.base import Files, Json, Provider
from providers.http import ApiClient, Limits, endpoint_label
from providers.results import Succeeded
from providers.video_profiles import Profile
from providers.webhooks import Secret, VideoEvent

#: The shortest and the longest pause between two polls of a clip that a webhook announces.
ANNOUNCED_POLL_SECONDS = (30.0, 60.0)


class VideoProvider(Provider):
    """A service that generates clips."""

    #: The id of no task, in the form of the service's own.
    unknown_task_id: str = "00000000-0000-4000-8000-000000000000"
    short_name: ClassVar[str]
    service_name: ClassVar[str]
    #: The scheme of the API key.
    scheme: ClassVar[str] = "Bearer"
    limits: ClassVar[Limits]

    def __init__(
        self,
        base_url: str,
        api_key: str,
        profiles: Sequence[Profile],
        client: httpx.AsyncClient,
        accept: Callable[..., Awaitable[Succeeded]],
        file_client: httpx.AsyncClient | None = None,
        *,
        stored: Files | None = None,
        is_announced: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """`accept` validates a delivered clip, as `accept_clip` of `providers/media/intake.py` does.

        `file_client` downloads it from other hosts, see `download_file`, `stored` are the images that clips start
        from, and `is_announced` means that webhooks are configured.
        """
        self.name = f"{self.short_name}:{endpoint_label(base_url)}"
        authorization = f"{self.scheme} {api_key}"
        self._api = ApiClient(client, base_url, authorization, self.service_name, limits or self.limits)
        self._profiles = {model: profile for profile in reversed(profiles) for model in profile.models}
        self._accept, self._file_client, self._stored = accept, file_client, stored
        self._is_announced = is_announced
        self._set_times()

    def _set_times(self) -> None:
        profiles = self._profiles.values()
        self.lookup_window = timedelta(seconds=max((each.lookup_window_seconds for each in profiles), default=120))
        hours = [each.result_lifetime_hours for each in profiles if each.result_lifetime_hours]
        self.result_lifetime = timedelta(hours=min(hours)) if hours else None
        self._poll_seconds = min((each.poll_seconds for each in profiles if each.poll_seconds), default=None)

    def poll_pause(self, polls: int) -> timedelta:
        """Return the shortest pause of the profiles; without any a clip that a webhook announces is polled rarely."""
        if self._poll_seconds:
            return timedelta(seconds=self._poll_seconds)
        if self._is_announced:
            return timedelta(seconds=random.uniform(*ANNOUNCED_POLL_SECONDS))  # noqa: S311 - to spread the polls
        return super().poll_pause(polls)

    def read_event(self, body: bytes) -> VideoEvent:
        """Return the event in the body of a verified webhook. Raises InvalidEvent."""
        raise NotImplementedError

    async def fetch_secrets(self) -> Sequence[Secret]:
        """Return the secrets of webhooks that the service gives out itself. Raises Unavailable."""
        return ()

    async def quote(self, request: Json) -> Decimal | None:
        """Return the price of an order in USD, where the service quotes one. Raises Unavailable."""
        return None
