"""Sockets on which the server listens."""

import socket

from api.settings_types import SettingsError

#: How long a client may leave a response unread before the kernel closes the connection.
UNREAD_TIMEOUT_MILLISECONDS = 120_000


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a listening socket, by default of a loopback address; port 0 takes a free one. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends each answer at once instead of collecting small packets (TCP_NODELAY).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MILLISECONDS)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(f"Cannot listen on port {port} of {host}: {error.strerror}.") from error
    listening.listen(2048)
    listening.setblocking(False)
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket; a wildcard address becomes loopback."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}"
