"""Requests to hosts that someone else names, and downloads: to checked addresses, by default public ones only."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx

from providers.base import Json, Unavailable
from providers.http import ApiResponse, Limits, receive_file, timeout_of, transfer_errors

#: The number of a host's addresses that are tried when one does not accept the connection.
MAX_ADDRESSES = 3
MAX_REDIRECTS = 3
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


class CheckedClient(httpx.AsyncClient):
    """An HTTP client that connects to checked addresses only, and keeps no state between requests.

    The connection goes to an address, not to the name of the host, and to the next one if that accepts none. The hosts
    of the extension `private_hosts` of a request can have private addresses. Requests raise ForbiddenAddress, and
    OSError for an unknown host. Cookies are not sent.
    """

    def __init__(self, timeout: httpx.Timeout, verify: ssl.SSLContext | bool = True) -> None:
        # Connections are pooled by address, and must not be reused for another host at that address.
        limits = httpx.Limits(max_keepalive_connections=0)
        transport = _CheckedTransport(verify=verify, trust_env=False, limits=limits)
        cookies, headers = CookieJar(DefaultCookiePolicy(allowed_domains=[])), {"accept-encoding": "identity"}
        super().__init__(transport=transport, trust_env=False, cookies=cookies, headers=headers, timeout=timeout)


class _CheckedTransport(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        addresses = await _resolve(request.url, request.extensions.get("private_hosts", ()))
        *others, last = (_request_to(address, request) for address in addresses)
        for other in others:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await super().handle_async_request(other)
        return await super().handle_async_request(last)


def _request_to(address: str, request: httpx.Request) -> httpx.Request:
    # The certificate is checked for the name of the host, although the URL contains the address.
    url, extensions = request.url.copy_with(host=address), {**request.extensions, "sni_hostname": request.url.host}
    return httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)


async def _resolve(url: httpx.URL, private_hosts: Collection[str]) -> list[str]:
    """Return the addresses of the host, each checked unless the host may have private ones."""
    port = url.port or (443 if url.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if url.host not in private_hosts:
        if not all(is_public(address) for address in addresses):
            raise ForbiddenAddress(f"{url.host} has a private address and is not an allowed private host")
        if url.scheme != "https":
            raise ForbiddenAddress(f"{url.host} is not an allowed private host and requires https")
    return addresses[:MAX_ADDRESSES]


@dataclass(frozen=True)
class FileRules:
    """The hosts of files: listed ones with https and public addresses, listed private ones, and the service itself.

    In `hosts`, `*` matches any text. `own_origin` is a URL of the service.
    """

    hosts: Sequence[str] = ()
    private_hosts: Sequence[str] = ()
    own_origin: str | None = None

    def is_own(self, url: httpx.URL) -> bool:
        """Return whether the URL is one of the service itself."""
        return self.own_origin is not None and _origin(url) == _origin(httpx.URL(self.own_origin))

    def check(self, url: httpx.URL) -> None:
        """Raise ForbiddenAddress for a host that is not listed."""
        is_listed = any(fnmatchcase(url.host, pattern) for pattern in (*self.hosts, *self.private_hosts))
        if url.scheme not in ("http", "https") or not (is_listed or self.is_own(url)):
            raise ForbiddenAddress(f"{url.host} is not among the `file_hosts` of the video profile. The file is {url}")


async def download_file(
    url: str, to: Path, rules: FileRules, limits: Limits, headers: Json | None, client: CheckedClient | None
) -> ApiResponse:
    """Stream a file to the path `to`; a response with another status than 200 is returned with its body.

    `headers` are not sent to another origin than that of `url`. Without a `client` the download has its own. Raises as
    `ApiClient.download`, and Unavailable for a host that is not allowed.
    """
    try:
        with transfer_errors("The host of the file"):
            first = following = httpx.URL(url)
            timeout = timeout_of(limits.idle_seconds)
            opening = contextlib.nullcontext(client) if client else CheckedClient(timeout)
            async with asyncio.timeout(limits.download_seconds), opening as opened:
                for _ in range(MAX_REDIRECTS + 1):
                    rules.check(following)
                    private_hosts = {*rules.private_hosts, *([following.host] if rules.is_own(following) else [])}
                    sent = (headers or {}) if _origin(following) == _origin(first) else {}
                    options: Json = {"timeout": timeout, "extensions": {"private_hosts": private_hosts}}
                    async with opened.stream("GET", following, headers=sent, **options) as response:
                        if not response.has_redirect_location:
                            return await receive_file(response, to, following.host, limits)
                        following = following.join(response.headers["location"])
    except ForbiddenAddress as error:
        raise Unavailable("file_host_forbidden", f"The file cannot be fetched: {error}.") from error
    raise Unavailable("too_many_redirects", f"{first.host} redirects too often.")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
