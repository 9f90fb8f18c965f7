"""The sender of notices: it connects to public addresses only, and to no other than it has looked at."""

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
from providers.notifications import NotificationSender, is_public, notification_client
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
    """A client as the wiring makes it."""
    async with notification_client() as made:
        yield made


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name have these addresses; gives the names that are asked for."""
    asked: list[str] = []

    async def getaddrinfo(_loop: Any, host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_known(address: str) -> None:
    """Loopback, private, link-local, shared, reserved, multicast, and what is one of them in other clothes."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses_are_known(address: str) -> None:
    """The rest of the world."""
    assert is_public(address)


async def test_a_private_host_is_told_nothing_unless_it_is_named(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """The same address is refused without the name, and served with it."""
    url = f"{receiver.url}/hook"
    refused = await NotificationSender(client, KEY).send(url, id="msg_1", body=BODY)
    named = await NotificationSender(client, KEY, ["127.0.0.1"]).send(url, id="msg_1", body=BODY)

    assert (refused.outcome, named.outcome) == ("refused", "delivered")
    assert "private address" in refused.answer
    assert len(receiver.heard) == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, "delivered") for status in (200, 202, 204)),
        *((status, "refused") for status in (400, 401, 403, 404, 413, 422)),
        *((status, "later") for status in (301, 307, 308, 408, 409, 425, 429, 500, 502, 503)),
        (410, "gone"),
    ],
)
async def test_an_answer_says_whether_to_come_again(
    client: httpx.AsyncClient, receiver: Receiver, status: int, outcome: str
) -> None:
    """Arrived, never, perhaps later, or not wanted any more; a redirect is not followed."""
    receiver.answers[:] = [(status, {"Location": f"{receiver.url}/elsewhere"})]
    sent = await NotificationSender(client, KEY, ["127.0.0.1"]).send(f"{receiver.url}/hook", id="msg_1", body=BODY)

    assert (sent.outcome, sent.answer) == (outcome, f"HTTP {status}")
    assert [heard.path for heard in receiver.heard] == ["/hook"]


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_other_spellings_of_this_machine_are_no_way_in(
    client: httpx.AsyncClient, receiver: Receiver, host: str
) -> None:
    """However loopback is written, nothing arrives."""
    port = receiver.url.rpartition(":")[2]
    sent = await NotificationSender(client, KEY).send(f"https://{host}:{port}/hook", id="msg_1", body=BODY)

    assert sent.outcome == "refused"
    assert receiver.heard == []


async def test_one_private_address_among_public_ones_is_enough(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads inside now and then leads nowhere."""
    resolving(monkeypatch, "8.8.8.8", "10.0.0.1")

    sent = await NotificationSender(client, KEY).send("https://outside.example/", id="msg_1", body=BODY)
    assert sent.outcome == "refused"


async def test_a_name_is_looked_up_once(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is connected to is what was looked at: a second answer of the name server changes nothing."""
    asked = resolving(monkeypatch, "127.0.0.1")
    async with notification_client() as client:
        url = receiver.url.replace("127.0.0.1", "inside.example")
        sent = await NotificationSender(client, KEY, ["inside.example"]).send(f"{url}/hook?a=b", id="msg_1", body=BODY)

    assert sent.outcome == "delivered"
    # The second lookup is of an address that is written in numbers.
    assert {host for host in asked if host != "127.0.0.1"} == {"inside.example"}
    assert asked.count("inside.example") == 1
    [heard] = receiver.heard
    assert heard.headers["host"] == url.removeprefix("http://")
    assert heard.path == "/hook?a=b"


async def test_plain_http_is_for_named_hosts_only(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves the own network is encrypted."""
    resolving(monkeypatch, "8.8.8.8")

    sent = await NotificationSender(client, KEY).send("http://outside.example/", id="msg_1", body=BODY)
    assert (sent.outcome, "https" in sent.answer) == ("refused", True)


@pytest.mark.parametrize(
    ("name", "outcome"), [("right.example", "delivered"), ("wrong.example", "later")], ids=["its name", "another name"]
)
async def test_a_certificate_is_checked_for_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, outcome: str
) -> None:
    """Though the connection is made to an address: a certificate for another name is not accepted."""
    seen: list[str | None] = []
    trusted, server = certificate(tmp_path, "right.example")
    server.sni_callback = lambda _socket, asked, _context: seen.append(asked)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"completed")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    port = listening.sockets[0].getsockname()[1]
    resolving(monkeypatch, "127.0.0.1")
    async with listening, httpx.AsyncClient(verify=trusted, trust_env=False) as client:
        sent = await NotificationSender(client, KEY, [name]).send(f"https://{name}:{port}/", id="msg_1", body=BODY)

    assert (sent.outcome, seen) == (outcome, [name])


async def test_the_next_address_is_tried_when_one_takes_no_connection(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with a dead address among its own is still reached."""
    port = int(receiver.url.rpartition(":")[2])
    resolving(monkeypatch, "127.0.0.77", "127.0.0.1")
    async with notification_client() as client:
        sent = await NotificationSender(client, KEY, ["both.example"]).send(
            f"http://both.example:{port}/", id="m", body=BODY
        )

    assert sent.outcome == "delivered"
    assert len(receiver.heard) == 1


async def test_who_does_not_answer_is_left(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, unused_port: Callable[[], int]
) -> None:
    """After the time-out, or at once where nobody listens; both may be better later."""
    monkeypatch.setattr(notifications, "TIMEOUT_SECONDS", 0.3)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    sender = NotificationSender(client, KEY, ["127.0.0.1", "nowhere.invalid"])
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        waited = await sender.send(f"http://127.0.0.1:{port}/", id="msg_1", body=BODY)
    nobody = await sender.send(f"http://127.0.0.1:{unused_port()}/", id="msg_1", body=BODY)
    unknown = await sender.send("http://nowhere.invalid/", id="msg_1", body=BODY)

    assert [sent.outcome for sent in (waited, nobody, unknown)] == ["later"] * 3
    assert "within 0.3 seconds" in waited.answer
    assert unknown.answer == "the host is not known"


async def test_nothing_else_is_sent_along(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """No cookies, no keys: the body, its type, and the three headers of the signature."""
    receiver.answers[:] = [(204, {"Set-Cookie": "a=b"})]
    sender = NotificationSender(client, KEY, ["127.0.0.1"])
    for number in range(2):
        await sender.send(f"{receiver.url}/hook", id=f"msg_{number}", body=BODY)

    assert set(receiver.heard[1].headers) == {
        *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "connection"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }


@pytest.fixture
def unused_port() -> Callable[[], int]:
    """Ports that nobody listens on."""

    def port() -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return int(free.getsockname()[1])

    return port


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a client trusts, and what a server shows: a certificate for this name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
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
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "certificate.pem"
    file.write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return ssl.create_default_context(cadata=pem.decode()), server


def test_the_table_of_private_addresses_is_of_addresses() -> None:
    """Each can be read as one."""
    assert all(ip_address(address.partition("%")[0]) for address in PRIVATE)
