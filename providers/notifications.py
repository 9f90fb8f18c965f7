"""Notices to the outside: Standard Webhooks, sent to addresses that are not our own network's."""

from __future__ import annotations

import asyncio
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
#: How many of a host's addresses are tried when one does not take the connection.
ADDRESSES = 3
#: The longest wait that a receiver may ask for, in seconds.
LONGEST_WAIT = 3600
#: Where an IPv4 address stands at the end of an IPv6 one, and says where a packet really goes.
TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))

_RETRYABLE = (408, 409, 425, 429)


@dataclass(frozen=True)
class SendResult:
    """What came of a try: it arrived, may arrive later (after `wait` seconds at least), never will, or is not
    wanted any more at that address. `answer` says it in words."""

    outcome: Literal["delivered", "later", "refused", "gone"]
    answer: str
    wait: float = 0


class _Forbidden(Exception):
    """The host is, or may be, one of our own network."""


class NotificationSender:
    """Sends notices, signed with `secret`. Hosts named in `private_hosts` may have private addresses.

    `client` must keep no connections and follow no proxy: see `notice_client`.
    """

    def __init__(self, client: httpx.AsyncClient, secret: Secret, private_hosts: Sequence[str] = ()) -> None:
        self._client = client
        self._secret = secret
        self._private_hosts = frozenset(private_hosts)

    async def send(self, url: str, *, id: str, body: bytes) -> SendResult:  # noqa: A002 - its name in the contract
        """Try once. Never raises for what the other side does, or does not do."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._send(httpx.URL(url), id, body)
        except _Forbidden as error:
            return SendResult("refused", str(error))
        except httpx.InvalidURL:
            return SendResult("refused", "the address cannot be read")
        except TimeoutError:
            return SendResult("later", f"no answer within {TIMEOUT_SECONDS:g} seconds")
        except OSError:
            return SendResult("later", "the host is not known")
        except (httpx.HTTPError, UnicodeError) as error:
            return SendResult("later", f"the connection failed ({type(error).__name__})")

    async def _send(self, url: httpx.URL, id: str, body: bytes) -> SendResult:  # noqa: A002
        addresses = await self._addresses(url)
        for last, address in enumerate(addresses, start=1 - len(addresses)):
            try:
                return await self._post(url, address, id, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if last == 0:
                    raise
        raise OSError("the host has no address")

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """The addresses of the host, each checked: what is connected to is what was looked at, and nothing else."""
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if url.host not in self._private_hosts:
            if not all(is_public(address) for address in addresses):
                raise _Forbidden(f"{url.host} has a private address, and is not allowed to by name")
            if url.scheme != "https":
                raise _Forbidden(f"{url.host} is not among the private hosts, and takes https only")
        return addresses[:ADDRESSES]

    async def _post(self, url: httpx.URL, address: str, id: str, body: bytes) -> SendResult:  # noqa: A002
        headers = {
            "host": url.netloc.decode("ascii"),
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": "MyloWare",
            **sign(self._secret, id=id, at=datetime.now(UTC), body=body),
        }
        # The certificate is checked for the host's name, whatever address is connected to.
        async with self._client.stream(
            "POST",
            url.copy_with(host=address, fragment=None),
            content=body,
            headers=headers,
            extensions={"sni_hostname": url.host} if url.scheme == "https" else None,
        ) as response:
            return _judged(response)


def notification_client() -> httpx.AsyncClient:
    """A client fit for a Sender: it keeps nothing from one notice to the next.

    Connections are known by address, and one must not serve another host there; nor is a cookie taken along.
    """
    return httpx.AsyncClient(
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=5.0),
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def is_public(address: str) -> bool:
    """Whether an IP address lies in the public internet, and nowhere else."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed.ipv4_mapped or parsed.sixtofour or parsed.teredo or any(parsed in net for net in TRANSLATED)
    ):
        return False
    return parsed.is_global and not parsed.is_multicast


def _judged(response: httpx.Response) -> SendResult:
    status = response.status_code
    said = f"HTTP {status}"
    if response.is_success:
        return SendResult("delivered", said)
    if status == 410:
        return SendResult("gone", said)
    if 400 <= status < 500 and status not in _RETRYABLE:
        return SendResult("refused", said)
    # A redirect counts as a failure that somebody may repair: it is never followed.
    wait = response.headers.get("retry-after", "")
    return SendResult("later", said, min(int(wait), LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,9}", wait) else 0)
