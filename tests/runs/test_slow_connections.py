"""Thousands of slow connections leave the service usable, and do not fill its log."""

from __future__ import annotations

import resource
import selectors
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.app import SandboxClient
from tests.runs.test_killed_processes import Server, has_status, run_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONNECTIONS = 2_000
SECONDS = 60
MAX_LOG_BYTES = 1_000_000


class SlowClients(threading.Thread):
    """Holds `CONNECTIONS` connections that send a byte every few seconds, and replaces those that are closed."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._stopped = threading.Event()
        self.opened = 0

    def run(self) -> None:
        clients: set[socket.socket] = set()
        beat_at = 0.0
        while not self._stopped.is_set():
            while len(clients) < CONNECTIONS and not self._stopped.is_set():
                clients.add(self._connect())
            for key, _ in self._selector.select(0.05):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                self._selector.unregister(client)
                client.close()
                clients.discard(client)
            if time.monotonic() > beat_at:
                beat_at = time.monotonic() + 3
                for client in clients:
                    try:
                        client.send(b"G")
                    except OSError:
                        continue
        for client in clients:
            client.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join(20)

    def _connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        client.setblocking(False)
        self._selector.register(client, selectors.EVENT_READ)
        self.opened += 1
        return client


def approve_slowly_served_run(server: Server) -> tuple[float, float]:
    """Approve a new run at its first gate; return the longest answer of /health and of the approval in seconds."""
    run_id = server.client.post("/v1/runs/start", json={"project": "tiny", "brief": "Fog"}).json()["run_id"]
    server.wait_until(run_id, has_status("awaiting_ideation_approval"))
    started_at = time.monotonic()
    server.approve(run_id, "ideation")
    approval = time.monotonic() - started_at
    started_at = time.monotonic()
    assert server.client.get("/health", headers={"Connection": "close"}).status_code == 200
    return time.monotonic() - started_at, approval


def test_slow_connections_leave_the_service_usable(tmp_path: Path, sandbox: SandboxClient) -> None:
    """During a minute of 2,000 slow connections /health answers within 1 s and an approval within 2 s."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * CONNECTIONS)), hard))
    with run_server(tmp_path, sandbox) as server:
        clients = SlowClients(server.port)
        clients.start()
        ends_at, health, approvals = time.monotonic() + SECONDS, [], []
        try:
            while time.monotonic() < ends_at:
                seconds = approve_slowly_served_run(server)
                health.append(seconds[0])
                approvals.append(seconds[1])
        finally:
            clients.stop()

    assert clients.opened > CONNECTIONS
    assert max(health) < 1
    assert max(approvals) < 2
    assert (tmp_path / "server.log").stat().st_size < MAX_LOG_BYTES
