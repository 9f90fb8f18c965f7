"""Notifications as Standard Webhooks, sent to public addresses only unless a host is allowed by name."""

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Literal

import httpx

from providers.webhooks import Secret, sign

TIMEOUT_SECONDS = 15.0
CONNECT_TIMEOUT_SECONDS = 5.0
#: The number of a host's addresses that are tried when one does not accept the connection.
MAX_ADDRESSES = 3
#: The longest delay that a receiver can request with `Retry-After`.
MAX_RETRY_AFTER_SECONDS = 3600

_RETRYABLE_STATUSES = (408, 409, 425, 429)
# IPv6 networks that embed an IPv4 address in the last bits, which is where the packets go.
_NAT64_NETWORKS = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


@dataclass(frozen=True)
class SendResult:
    """The result of an attempt.

    Attributes:
        outcome: "delivered"; "later" for a temporary failure; "refused" for a permanent one; "gone" if the receiver
            accepts no further notifications.
        response: The response or the error, in words.
        wait_seconds: The minimum delay before the next attempt.
    """

    outcome: Literal["delivered", "later", "refused", "gone"]
    response: str
    wait_seconds: float = 0


class _ForbiddenAddress(Exception):
    """The host has, or may have, a private address."""


class NotificationSender:
    """Sends notifications, signed with `secret`. The hosts in `private_hosts` can have private addresses.

    `client` must keep no connections and use no proxy: see `notification_client`.
    """

    def __init__(self, client: httpx.AsyncClient, secret: Secret, private_hosts: Sequence[str] = ()) -> None:
        self._client = client
        self._secret = secret
        self._private_hosts = frozenset(private_hosts)

    async def send(self, url: str, *, id: str, body: bytes) -> SendResult:  # noqa: A002 - the contract's name
        """Send the notification once. Never raises for an error of the receiver or the network."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._send(httpx.URL(url), id, body)
        except _ForbiddenAddress as error:
            return SendResult("refused", str(error))
        except httpx.InvalidURL:
            return SendResult("refused", "invalid URL")
        except TimeoutError:
            return SendResult("later", f"no response within {TIMEOUT_SECONDS:g} seconds")
        except OSError:
            return SendResult("later", "the host is not known")
        except (httpx.HTTPError, UnicodeError) as error:
            return SendResult("later", f"the connection failed ({type(error).__name__})")

    async def _send(self, url: httpx.URL, message_id: str, body: bytes) -> SendResult:
        *others, last = await self._resolve(url)
        for address in others:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._post(url, address, message_id, body)
        return await self._post(url, last, message_id, body)

    async def _resolve(self, url: httpx.URL) -> list[str]:
        """Return the addresses of the host, each checked: the connection goes to a checked address, not to the name."""
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if url.host not in self._private_hosts:
            if not all(is_public(address) for address in addresses):
                raise _ForbiddenAddress(f"{url.host} has a private address and is not an allowed private host")
            if url.scheme != "https":
                raise _ForbiddenAddress(f"{url.host} is not an allowed private host and requires https")
        return addresses[:MAX_ADDRESSES]

    async def _post(self, url: httpx.URL, address: str, message_id: str, body: bytes) -> SendResult:
        headers = {
            "host": url.netloc.decode("ascii"),
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": "MyloWare",
            **sign(self._secret, id=message_id, at=datetime.now(UTC), body=body),
        }
        # The certificate is checked for the name of the host, although the URL contains the address.
        async with self._client.stream(
            "POST",
            url.copy_with(host=address, fragment=None),
            content=body,
            headers=headers,
            extensions={"sni_hostname": url.host} if url.scheme == "https" else None,
        ) as response:
            return _classify_response(response)


def notification_client() -> httpx.AsyncClient:
    """Return an HTTP client for a NotificationSender. It keeps no state between notifications.

    Connections are pooled by address, and must not be reused for another host at that address. Cookies are not sent.
    """
    return httpx.AsyncClient(
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public internet only."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed.ipv4_mapped or parsed.sixtofour or parsed.teredo or any(parsed in net for net in _NAT64_NETWORKS)
    ):
        return False
    return parsed.is_global and not parsed.is_multicast


def _classify_response(response: httpx.Response) -> SendResult:
    status = response.status_code
    description = f"HTTP {status}"
    if response.is_success:
        return SendResult("delivered", description)
    if status == 410:
        return SendResult("gone", description)
    if 400 <= status < 500 and status not in _RETRYABLE_STATUSES:
        return SendResult("refused", description)
    # A redirect is not followed. It counts as a temporary failure that the receiver can correct.
    seconds = response.headers.get("retry-after", "")
    wait = min(int(seconds), MAX_RETRY_AFTER_SECONDS) if re.fullmatch(r"[0-9]{1,9}", seconds) else 0
    return SendResult("later", description, wait)
