"""The notification sender connects only to public addresses, and only to addresses that it has checked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from providers import notifications
from providers.notifications import NotificationSender, notification_client
from providers.public_hosts import CheckedClient, is_public
from providers.webhooks import parse_secret
from tests.reviews.conftest import SECRET, Receiver

KEY = parse_secret(SECRET)
BODY = b'{"type": "run.completed"}'
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.5",
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "192.0.2.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "2001:0:a00:1::",
]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client as the product uses it."""
    async with notification_client() as opened:
        yield opened


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Resolve every name to these addresses, and return the list of resolved names."""
    names: list[str] = []

    async def getaddrinfo(_loop: Any, host: str, port: int, **_: Any) -> list[Any]:
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return names


@pytest.mark.parametrize("address", PRIVATE)
def test_private_address_is_not_public(address: str) -> None:
    """Loopback, private, link-local, shared, reserved, multicast, and their translations to IPv6 are not public."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_public_address_is_public(address: str) -> None:
    """Every other address is public."""
    assert is_public(address)


async def test_private_host_must_be_allowed(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """A private address is refused unless its host is allowed by name."""
    url = f"{receiver.url}/hook"
    refused = await NotificationSender(client, KEY).send(url, id="msg_1", body=BODY)
    allowed = await NotificationSender(client, KEY, ["127.0.0.1"]).send(url, id="msg_1", body=BODY)

    assert (refused.outcome, allowed.outcome) == ("refused", "delivered")
    assert "private address" in refused.response
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, "delivered") for status in (200, 202, 204)),
        *((status, "refused") for status in (400, 401, 403, 404, 413, 422)),
        *((status, "later") for status in (301, 307, 308, 408, 409, 425, 429, 500, 502, 503)),
        (410, "gone"),
    ],
)
async def test_status_determines_the_outcome(
    client: httpx.AsyncClient, receiver: Receiver, status: int, outcome: str
) -> None:
    """A status means delivered, refused, later or gone; a redirect is not followed."""
    receiver.responses[:] = [(status, {"Location": f"{receiver.url}/elsewhere"})]
    sent = await NotificationSender(client, KEY, ["127.0.0.1"]).send(f"{receiver.url}/hook", id="msg_1", body=BODY)

    assert (sent.outcome, sent.response) == (outcome, f"HTTP {status}")
    assert [request.path for request in receiver.requests] == ["/hook"]


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_spellings_of_loopback_are_refused(client: httpx.AsyncClient, receiver: Receiver, host: str) -> None:
    """No spelling of a loopback address is accepted."""
    port = receiver.url.rpartition(":")[2]
    sent = await NotificationSender(client, KEY).send(f"https://{host}:{port}/hook", id="msg_1", body=BODY)

    assert sent.outcome == "refused"
    assert receiver.requests == []


async def test_one_private_address_refuses_the_host(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a private address among public ones is refused."""
    resolve_to(monkeypatch, "8.8.8.8", "10.0.0.1")

    sent = await NotificationSender(client, KEY).send("https://outside.example/", id="msg_1", body=BODY)
    assert sent.outcome == "refused"


async def test_name_is_resolved_once(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the checked address: a later answer of the name server has no effect."""
    names = resolve_to(monkeypatch, "127.0.0.1")
    async with notification_client() as client:
        url = receiver.url.replace("127.0.0.1", "inside.example")
        sent = await NotificationSender(client, KEY, ["inside.example"]).send(f"{url}/hook?a=b", id="msg_1", body=BODY)

    assert sent.outcome == "delivered"
    # The second lookup is of a numeric address.
    assert {host for host in names if host != "127.0.0.1"} == {"inside.example"}
    assert names.count("inside.example") == 1
    [request] = receiver.requests
    assert request.headers["host"] == url.removeprefix("http://")
    assert request.path == "/hook?a=b"


async def test_public_host_requires_https(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notifications to public hosts are encrypted."""
    resolve_to(monkeypatch, "8.8.8.8")

    sent = await NotificationSender(client, KEY).send("http://outside.example/", id="msg_1", body=BODY)
    assert (sent.outcome, "https" in sent.response) == ("refused", True)


@pytest.mark.parametrize(
    ("name", "outcome"), [("right.example", "delivered"), ("wrong.example", "later")], ids=["its name", "another name"]
)
async def test_certificate_is_checked_for_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, outcome: str
) -> None:
    """The connection goes to an address, and the certificate of another name is not accepted."""
    names: list[str | None] = []
    trusted, server = create_certificate(tmp_path, "right.example")
    server.sni_callback = lambda _socket, name, _context: names.append(name)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"completed")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(respond, "127.0.0.1", 0, ssl=server)
    port = listening.sockets[0].getsockname()[1]
    resolve_to(monkeypatch, "127.0.0.1")
    async with listening, CheckedClient(httpx.Timeout(5), verify=trusted) as client:
        sent = await NotificationSender(client, KEY, [name]).send(f"https://{name}:{port}/", id="msg_1", body=BODY)

    assert (sent.outcome, names) == (outcome, [name])


async def test_next_address_is_tried_after_a_failed_connection(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host is reached although one of its addresses accepts no connection."""
    port = int(receiver.url.rpartition(":")[2])
    resolve_to(monkeypatch, "127.0.0.77", "127.0.0.1")
    async with notification_client() as client:
        sent = await NotificationSender(client, KEY, ["both.example"]).send(
            f"http://both.example:{port}/", id="m", body=BODY
        )

    assert sent.outcome == "delivered"
    assert len(receiver.requests) == 1


async def test_unreachable_host_is_tried_later(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, unused_port: Callable[[], int]
) -> None:
    """A timeout, a refused connection and an unknown host are temporary failures."""
    monkeypatch.setattr(notifications, "TIMEOUT_SECONDS", 0.3)

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    sender = NotificationSender(client, KEY, ["127.0.0.1", "nowhere.invalid"])
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        timed_out = await sender.send(f"http://127.0.0.1:{port}/", id="msg_1", body=BODY)
    refused = await sender.send(f"http://127.0.0.1:{unused_port()}/", id="msg_1", body=BODY)
    unknown = await sender.send("http://nowhere.invalid/", id="msg_1", body=BODY)

    assert [sent.outcome for sent in (timed_out, refused, unknown)] == ["later"] * 3
    assert "within 0.3 seconds" in timed_out.response
    assert unknown.response == "the host is not known"


async def test_request_has_no_other_headers(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """A request has no cookies and no API keys, only the signature and the headers of its body."""
    receiver.responses[:] = [(204, {"Set-Cookie": "a=b"})]
    sender = NotificationSender(client, KEY, ["127.0.0.1"])
    for number in range(2):
        await sender.send(f"{receiver.url}/hook", id=f"msg_{number}", body=BODY)

    assert set(receiver.requests[1].headers) == {
        *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "connection"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }


@pytest.fixture
def unused_port() -> Callable[[], int]:
    """Returns ports without a listener."""

    def port() -> int:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            return int(bound.getsockname()[1])

    return port


def create_certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Create a certificate for this name, and return the context of a client and that of a server."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "certificate.pem"
    file.write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return ssl.create_default_context(cadata=pem.decode()), server


def test_private_addresses_are_valid() -> None:
    """Every address of the table is a valid one."""
    assert all(ip_address(address.partition("%")[0]) for address in PRIVATE)
