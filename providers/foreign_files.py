"""Downloads from the hosts that a service names in its responses, without its API key."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import httpx

from providers.base import Json, Unavailable
from providers.http import ApiResponse, Limits, receive_file, timeout_of, transfer_errors
from providers.public_hosts import ForbiddenAddress, stateless_client, stream_checked

MAX_REDIRECTS = 3


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
    url: str, to: Path, rules: FileRules, limits: Limits, headers: Json | None, client: httpx.AsyncClient | None
) -> ApiResponse:
    """Stream a file to the path `to`; a response with another status than 200 is returned with its body.

    `headers` are not sent to another origin than that of `url`. `client` must keep no state: see `stateless_client`;
    without one the download has its own. Raises as `ApiClient.download`, and Unavailable for a host that is not
    allowed.
    """
    try:
        with transfer_errors("The host of the file"):
            first = following = httpx.URL(url)
            timeout = timeout_of(limits.idle_seconds)
            opening = nullcontext(client) if client else stateless_client(timeout)
            async with asyncio.timeout(limits.download_seconds), opening as opened:
                for _ in range(MAX_REDIRECTS + 1):
                    rules.check(following)
                    private = {*rules.private_hosts, *([following.host] if rules.is_own(following) else [])}
                    sent = (headers or {}) if _origin(following) == _origin(first) else {}
                    async with stream_checked(opened, "GET", following, sent, private, timeout=timeout) as response:
                        if not response.has_redirect_location:
                            return await receive_file(response, to, following.host, limits)
                        following = following.join(response.headers["location"])
    except ForbiddenAddress as error:
        raise Unavailable("file_host_forbidden", f"The file cannot be fetched: {error}.") from error
    raise Unavailable("too_many_redirects", f"{first.host} redirects too often.")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
