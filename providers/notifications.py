"""Notifications as Standard Webhooks, sent to public addresses only unless a host is allowed by name."""

import asyncio
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import httpx

from providers.public_hosts import CheckedClient, ForbiddenAddress
from providers.webhooks import Secret, sign

TIMEOUT_SECONDS = 15.0
CONNECT_TIMEOUT_SECONDS = 5.0
#: The longest delay that a receiver can request with `Retry-After`.
MAX_RETRY_AFTER_SECONDS = 3600

_RETRYABLE_STATUSES = (408, 409, 425, 429)


@dataclass(frozen=True)
class SendResult:
    """The result of an attempt. `response` is the response or the error in words."""

    #: "later" after a temporary failure, "refused" after a permanent one, "gone" if the receiver accepts no more.
    outcome: Literal["delivered", "later", "refused", "gone"]
    response: str
    #: The minimum delay before the next attempt.
    wait_seconds: float = 0


class NotificationSender:
    """Sends notifications, signed with `secret`. The hosts in `private_hosts` can have private addresses."""

    def __init__(self, client: CheckedClient, secret: Secret, private_hosts: Sequence[str] = ()) -> None:
        self._client, self._secret, self._extensions = client, secret, {"private_hosts": frozenset(private_hosts)}

    async def send(self, url: str, *, id: str, body: bytes) -> SendResult:  # noqa: A002 - the contract's name
        """Send the notification once. Never raises for an error of the receiver or the network."""
        return await attempt(self._send(url, id, body))

    async def _send(self, url: str, message_id: str, body: bytes) -> SendResult:
        headers = {
            "content-type": "application/json",
            "user-agent": "MyloWare",
            **sign(self._secret, id=message_id, at=datetime.now(UTC), body=body),
        }
        sent: dict[str, Any] = {"headers": headers, "content": body, "extensions": self._extensions}
        async with self._client.stream("POST", url, **sent) as response:
            return classify(response.status_code, response.headers.get("retry-after"))


def notification_client() -> CheckedClient:
    """Return an HTTP client for a NotificationSender."""
    return CheckedClient(httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS))


async def attempt(sending: Coroutine[Any, Any, SendResult]) -> SendResult:
    """Return the result, or that of the error: no error of the receiver or the network is raised, or has its URL."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await sending
    except ForbiddenAddress as error:
        return SendResult("refused", str(error))
    except httpx.InvalidURL:
        return SendResult("refused", "invalid URL")
    except TimeoutError:
        return SendResult("later", f"no response within {TIMEOUT_SECONDS:g} seconds")
    except OSError:
        return SendResult("later", "the host is not known")
    except (httpx.HTTPError, UnicodeError) as error:
        return SendResult("later", f"the connection failed ({type(error).__name__})")


def classify(status: int, retry_after: str | None = None) -> SendResult:
    """Return the result of an attempt by the HTTP status of the response and its `Retry-After`, in seconds."""
    description = f"HTTP {status}"
    if 200 <= status < 300:
        return SendResult("delivered", description)
    if status == 410:
        return SendResult("gone", description)
    if 400 <= status < 500 and status not in _RETRYABLE_STATUSES:
        return SendResult("refused", description)
    # A redirect is not followed. It counts as a temporary failure that the receiver can correct.
    seconds = re.fullmatch(r"[0-9]{1,9}", retry_after or "")
    wait = min(int(seconds[0]), MAX_RETRY_AFTER_SECONDS) if seconds else 0
    return SendResult("later", description, wait)
