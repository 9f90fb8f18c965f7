"""A clip that a server stores elsewhere is fetched from allowed hosts only, without the API key."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.base import ProviderError, Unavailable
from providers.http import Limits
from providers.results import PollResult, Succeeded
from providers.video_profiles import Profile, ProfileError
from providers.videos import Videos
from tests.providers.stub_server import ignore_progress

KEY = "sk-very-secret"
REQUEST = {"model": "wan", "prompt": "A fox", "seconds": 4, "size": "720x1280"}
MP4 = b"\x00\x00\x00\x18ftypmp42" * 100
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class FileServer:
    """A server on loopback with fixed answers by path; it records path and headers of its requests."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def add(self, path: str, status: int = 200, body: bytes = MP4, **headers: str) -> str:
        """Add an answer, and return its URL."""
        self.answers[path] = (status, {"Content-Type": "video/mp4", **headers}, body)
        return f"{self.url}{path}"

    def completed(self, **content: Any) -> None:
        """Add a completed video; `content` is the answer to the request for its file."""
        self.add("/v1/videos/v", body=b'{"status": "completed"}', **{"Content-Type": "application/json"})
        self.add("/v1/videos/v/content", **content)


@contextmanager
def run_server() -> Iterator[FileServer]:
    running = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = running.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def servers() -> Iterator[Callable[[], FileServer]]:
    """Return a function that starts a server."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(run_server())


@pytest.fixture
def api(servers: Callable[[], FileServer]) -> FileServer:
    """The video server."""
    return servers()


@pytest.fixture
def store(servers: Callable[[], FileServer]) -> FileServer:
    """The server that has the files."""
    return servers()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as opened:
        yield opened


async def accept(path: Path, **_: Any) -> Succeeded:
    assert path.read_bytes() == MP4
    return Succeeded(path)


def profile_of(**fields: Any) -> Profile:
    base = {"hosts": ["*"], "models": ["wan"], "sizes": ["720x1280"], "seconds": [4], "usd_per_second": 0}
    return Profile.model_validate(base | fields)


async def fetch(
    server: FileServer, client: httpx.AsyncClient, into: Path, limits: Limits | None = None, **profile: Any
) -> PollResult:
    """Poll the completed video of the server."""
    videos = Videos(f"{server.url}/v1", KEY, [profile_of(**profile)], client, accept, limits=limits or Limits())
    return await videos.poll("v", REQUEST, into=into, progress=ignore_progress)


LOCAL = {"private_file_hosts": ["127.0.0.1"]}


async def test_a_file_in_cloud_storage_is_fetched_without_the_key(
    api: FileServer, store: FileServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """SGLang answers a request for the content with the URL in its error message. A signed query stays as it is."""
    signed = store.add("/bucket/v.mp4?X-Sig=a%2Fb+c&empty=")
    detail = f'{{"detail": "Video has been uploaded to cloud storage. Please use the cloud URL: {signed}"}}'
    api.completed(status=400, body=detail.encode())

    assert isinstance(await fetch(api, client, tmp_path, **LOCAL), Succeeded)
    [(path, headers)] = store.requests
    assert path == "/bucket/v.mp4?X-Sig=a%2Fb+c&empty="
    assert "authorization" not in headers
    assert KEY not in str(headers)
    assert api.requests[-1][1]["authorization"] == f"Bearer {KEY}"


async def test_the_url_of_the_video_is_used(
    api: FileServer, store: FileServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """A server without content of its own gives the URL with the video."""
    url = store.add("/v.mp4")
    api.completed(status=404, body=b"{}")
    api.add("/v1/videos/v", body=f'{{"status": "completed", "url": "{url}"}}'.encode())

    assert isinstance(await fetch(api, client, tmp_path, **LOCAL), Succeeded)


async def test_redirects_are_followed_to_allowed_hosts(
    api: FileServer, store: FileServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Within the server with the key, to another host without it."""
    store.add("/moved", 302, b"", Location="/v.mp4")
    store.add("/v.mp4")
    api.completed(status=307, body=b"", Location="/files/v")
    api.add("/files/v", 302, b"", Location=f"{store.url}/moved")

    assert isinstance(await fetch(api, client, tmp_path, **LOCAL), Succeeded)
    assert [(path, "authorization" in headers) for path, headers in api.requests[1:]] == [
        ("/v1/videos/v/content", True),
        ("/files/v", True),
    ]
    assert [(path, "authorization" in headers) for path, headers in store.requests] == [
        ("/moved", False),
        ("/v.mp4", False),
    ]


async def test_its_own_address_needs_no_permission(api: FileServer, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A redirect within the server is followed without any setting."""
    api.completed(status=302, body=b"", Location="/files/v")
    api.add("/files/v")

    assert isinstance(await fetch(api, client, tmp_path), Succeeded)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({}, "is not among the `file_hosts` of the video profile"),
        ({"file_hosts": ["files.example"]}, "is not among the `file_hosts`"),
        ({"file_hosts": ["127.0.0.1"]}, "has a private address"),
        ({"file_hosts": ["*"]}, "has a private address"),
    ],
)
async def test_other_hosts_are_refused(
    api: FileServer,
    store: FileServer,
    client: httpx.AsyncClient,
    tmp_path: Path,
    profile: dict[str, Any],
    words: str,
) -> None:
    """Nothing is sent there. The paid clip is waited for, so that it is fetched once the profile names the host."""
    api.completed(status=302, body=b"", Location=store.add("/v.mp4"))
    with pytest.raises(Unavailable, match=words) as caught:
        await fetch(api, client, tmp_path, **profile)

    assert caught.value.code == "file_host_forbidden"
    assert store.requests == []


@pytest.mark.parametrize("elsewhere", ["https://other.example", "http://169.254.169.254", "ftp://127.0.0.1"])
async def test_a_redirect_of_an_allowed_host_is_checked_too(
    api: FileServer, store: FileServer, client: httpx.AsyncClient, tmp_path: Path, elsewhere: str
) -> None:
    """An allowed host cannot lead to a host that is not."""
    store.add("/v.mp4", 302, b"", Location=f"{elsewhere}/latest/meta-data")
    api.completed(status=302, body=b"", Location=f"{store.url}/v.mp4")
    with pytest.raises(Unavailable) as caught:
        await fetch(api, client, tmp_path, **LOCAL)

    assert caught.value.code == "file_host_forbidden"


async def test_a_name_is_checked_at_its_address(api: FileServer, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A host that is allowed by name and has a private address is refused; plain http is refused as well."""
    api.completed(status=302, body=b"", Location="https://localhost:9/v.mp4")
    with pytest.raises(Unavailable, match="localhost has a private address"):
        await fetch(api, client, tmp_path, file_hosts=["localhost"])

    api.completed(status=302, body=b"", Location="http://8.8.8.8/v.mp4")
    with pytest.raises(Unavailable, match="requires https"):
        await fetch(api, client, tmp_path, file_hosts=["8.8.8.8"])


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 403, "body": b"<Error/>"}, "file_not_served"),
        ({"status": 404, "body": b""}, "file_not_served"),
        ({"Content-Type": "text/html"}, "not_a_file"),
        ({"Content-Length": "9999"}, "download_incomplete"),
        ({"status": 302, "body": b"", "Location": "/v.mp4"}, "too_many_redirects"),
        ({"status": 302, "body": b"", "Location": "http://[::1"}, "download_incomplete"),
        ({"status": 302, "body": b"", "Location": "http://127.0.0.1:9/v.mp4"}, "download_incomplete"),
    ],
)
async def test_a_file_that_is_not_served_is_waited_for(
    api: FileServer, store: FileServer, client: httpx.AsyncClient, tmp_path: Path, answer: dict[str, Any], code: str
) -> None:
    """No part of it is kept, and the redirects are bounded."""
    api.completed(status=302, body=b"", Location=store.add("/v.mp4", **answer))
    with pytest.raises(Unavailable) as caught:
        await fetch(api, client, tmp_path, Limits(download_seconds=3), **LOCAL)

    assert caught.value.code == code
    assert len(store.requests) <= 4
    assert list(tmp_path.iterdir()) == []


async def test_the_size_is_bounded_elsewhere_too(
    api: FileServer, store: FileServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """A file over the limit ends the order, and is not kept."""
    api.completed(status=302, body=b"", Location=store.add("/v.mp4"))
    result = await fetch(api, client, tmp_path, Limits(file_bytes=1000), **LOCAL)

    assert getattr(result, "code", "") == "file_too_large"
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_fetched_are_refused_before_an_order() -> None:
    """A profile of a server that stores its clips elsewhere needs the host, or no clip is priced or ordered."""
    with pytest.raises(ProfileError) as caught:
        profile_of(files_elsewhere=True).price(4, "720x1280")

    assert caught.value.code == "video_files_unfetchable"
    assert profile_of(files_elsewhere=True, file_hosts=["clips.example"]).price(4, "720x1280") == 0
    assert issubclass(ProfileError, ProviderError)
