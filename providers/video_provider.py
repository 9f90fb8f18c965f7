"""The interface of a provider of clips."""

from collections.abc import Sequence
from decimal import Decimal

from providers.base import Json, Provider
from providers.webhooks import Secret, VideoEvent


class VideoProvider(Provider):
    """A service that generates clips."""

    #: The id of no task, in the form of the service's own.
    unknown_task_id: str = "00000000-0000-4000-8000-000000000000"

    def read_event(self, body: bytes) -> VideoEvent:
        """Return the event in the body of a verified webhook. Raises InvalidEvent."""
        raise NotImplementedError

    async def fetch_secrets(self) -> Sequence[Secret]:
        """Return the secrets of webhooks that the service gives out itself. Raises Unavailable."""
        return ()

    async def quote(self, request: Json) -> Decimal | None:
        """Return the price of an order in USD, where the service quotes one. Raises Unavailable."""
        return None
