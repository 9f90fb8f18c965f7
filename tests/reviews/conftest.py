"""Fixtures of the review tests: a receiver of notifications, and an app without a worker that the tests advance."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from providers.webhooks import parse_secret
from runs.advance import advance
from runs.notifications import enqueue_notifications, send_due_notifications
from runs.services import Services
from tests.app import TINY_PROJECT, App, SandboxClient, open_app

SECRET = "whsec_" + "c2l4IHRpbWVzIGZvdXIgaXMgdHdlbnR5LWZvdXIgYnl0ZXM="
DEADLINE_HOURS = {"remind": 24, "escalate": 24, "reject": 48}


@dataclass(frozen=True)
class ReceivedRequest:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass
class Receiver:
    """An HTTP server on loopback that records requests, and sends the responses that a test sets."""

    url: str = ""
    requests: list[ReceivedRequest] = field(default_factory=list)
    #: The next responses (status, headers); after them every response is 204.
    responses: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def notifications_of(self, run_id: str, path: str = "/hook") -> list[dict[str, Any]]:
        """The notifications about a run to this path, in the order in which they arrived."""
        bodies = [request.json for request in self.requests if request.path == path]
        return [body for body in bodies if body["data"]["run_id"] == run_id]


@contextmanager
def run_receiver() -> Iterator[Receiver]:
    """Run a receiver while the block runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(ReceivedRequest(self.path, headers, body))
            status, extra = receiver.responses.pop(0) if receiver.responses else (204, {})
            self.send_response(status)
            for name, value in {"Content-Length": "0", **extra}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def module_receiver() -> Iterator[Receiver]:
    """The receiver of a module."""
    with run_receiver() as receiver:
        yield receiver


@pytest.fixture
def receiver(module_receiver: Receiver) -> Receiver:
    """The receiver without requests and responses of earlier tests."""
    module_receiver.requests.clear()
    module_receiver.responses.clear()
    return module_receiver


@pytest.fixture(scope="session")
def deadline_projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of projects: `tiny`, and one for each action on an overdue review."""
    folder = tmp_path_factory.mktemp("projects")
    (folder / "tiny.md").write_text(TINY_PROJECT)
    for on_due, hours in DEADLINE_HOURS.items():
        rule = f"{{due_hours: {hours}, on_due: {on_due}}}"
        gates = f"gates: {{ideation: {rule}, publish: {rule}}}\noptions:"
        (folder / f"{on_due}.md").write_text(TINY_PROJECT.replace("options:", gates))
    return folder


def notification_settings(receiver: Receiver, projects: Path) -> dict[str, Any]:
    """Settings that send every notification to the receiver, and escalations to another path of it."""
    return {
        "projects_dir": projects,
        "notify_urls": [f"{receiver.url}/hook"],
        "notify_escalate_urls": [f"{receiver.url}/boss"],
        "notify_secret": parse_secret(SECRET),
        "notify_private_hosts": ["127.0.0.1"],
    }


class ManualApp:
    """The app without a worker: the tests advance runs, send notifications, and make reviews overdue."""

    def __init__(self, app: App) -> None:
        self.app = app

    @property
    def services(self) -> Services:
        return self.app.state.services

    def advance(self, run_id: str) -> dict[str, Any]:
        """Advance the run until it waits or ends, and return it."""
        self.app.in_loop(advance(self.services, run_id))
        return self.app.run(run_id)

    def start_review(self, project: str = "tiny") -> dict[str, Any]:
        """Start a run, send its notification, and return it at the ideation gate."""
        run = self.advance(self.app.start(project=project))
        assert run["status"] == "awaiting_ideation_approval", run
        self.notify()
        return run

    def notify(self) -> None:
        """Enqueue notifications and deadlines, and send the notifications that are due."""
        self.app.in_loop(enqueue_notifications(self.services))
        self.app.in_loop(send_due_notifications(self.services))

    def make_overdue(self, run_id: str) -> None:
        """Move the deadline of the run's review to one second ago."""
        moved = self.app.rows(
            "update review_deadlines set due_at = due_at - (next_at - now()) - interval '1 second',"
            " next_at = now() - interval '1 second' where run_id = %s and next_at is not null returning 1",
            run_id,
        )
        assert len(moved) == 1

    def deadline(self, run_id: str) -> dict[str, Any] | None:
        """The row of the run's deadline."""
        rows = self.app.rows("select * from review_deadlines where run_id = %s", UUID(run_id))
        return rows[0] if rows else None

    def event_kinds(self, run_id: str) -> list[str]:
        """The kinds of the run's events."""
        return [event["kind"] for event in self.app.events(run_id)]


@pytest.fixture(scope="module")
def module_manual_app(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    module_receiver: Receiver,
    deadline_projects: Path,
) -> Iterator[ManualApp]:
    """The manual app of a module."""
    settings = notification_settings(module_receiver, deadline_projects)
    with open_app(postgres_server, migrated_template, sandbox_process, with_worker=False, **settings) as opened:
        yield ManualApp(opened)


@pytest.fixture
def manual_app(module_manual_app: ManualApp, receiver: Receiver) -> ManualApp:
    """The manual app without deadlines and notifications of earlier tests."""
    module_manual_app.app.rows("update review_deadlines set next_at = null returning 1")
    module_manual_app.app.rows("delete from outbox returning 1")
    module_manual_app.app.rows("update deliveries set state = 'abandoned', next_attempt_at = null returning 1")
    module_manual_app.app.rows("delete from disabled_endpoints returning 1")
    return module_manual_app
