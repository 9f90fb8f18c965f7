"""Requests to hosts that someone else names: to checked addresses, by default public ones only."""

import contextlib
import ipaddress
import socket
from asyncio import get_running_loop
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

#: The number of a host's addresses that are tried when one does not accept the connection.
MAX_ADDRESSES = 3
# IPv6 networks that embed an IPv4 address in the last bits, which is where the packets go.
_NAT64_NETWORKS = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class ForbiddenAddress(Exception):
    """The host has, or may have, a private address."""


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public internet only."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed.ipv4_mapped or parsed.sixtofour or parsed.teredo or any(parsed in net for net in _NAT64_NETWORKS)
    ):
        return False
    return parsed.is_global and not parsed.is_multicast


def stateless_client(timeout: httpx.Timeout) -> httpx.AsyncClient:
    """Return an HTTP client for `stream_checked`. It keeps no state between requests.

    Connections are pooled by address, and must not be reused for another host at that address. Cookies are not sent.
    """
    return httpx.AsyncClient(
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        timeout=timeout,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


@asynccontextmanager
async def stream_checked(
    client: httpx.AsyncClient,
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str],
    private_hosts: Collection[str],
    **content: Any,
) -> AsyncIterator[httpx.Response]:
    """Send a request to a checked address of the host, or to its next one if that accepts no connection.

    The connection goes to the address, not to the name. `client` must be stateless. Raises ForbiddenAddress, and
    OSError for an unknown host.
    """
    *others, last = await _resolve(url, private_hosts)

    def stream(address: str) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        # The certificate is checked for the name of the host, although the URL contains the address.
        return client.stream(
            method,
            url.copy_with(host=address, fragment=None),
            headers={"host": url.netloc.decode("ascii"), "accept-encoding": "identity", **headers},
            extensions={"sni_hostname": url.host} if url.scheme == "https" else None,
            **content,
        )

    async with AsyncExitStack() as stack:
        for address in others:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                yield await stack.enter_async_context(stream(address))
                return
        yield await stack.enter_async_context(stream(last))


async def _resolve(url: httpx.URL, private_hosts: Collection[str]) -> list[str]:
    """Return the addresses of the host, each checked unless the host may have private ones."""
    port = url.port or (443 if url.scheme == "https" else 80)
    found = await get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if url.host not in private_hosts:
        if not all(is_public(address) for address in addresses):
            raise ForbiddenAddress(f"{url.host} has a private address and is not an allowed private host")
        if url.scheme != "https":
            raise ForbiddenAddress(f"{url.host} is not an allowed private host and requires https")
    return addresses[:MAX_ADDRESSES]
