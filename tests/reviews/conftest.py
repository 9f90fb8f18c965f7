"""What the tests of reviews share: somebody outside who listens, and a desk where time is set by hand."""

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
from pydantic import SecretStr

from runs.advance import advance
from runs.notifications import enqueue_notifications, send_due_notifications
from tests.app import (
    TINY_PROJECT,
    App,
    SandboxClient,
    app,
    migrated_template,
    opened,
    postgres_server,
    quiet_app,
    sandbox,
    sandbox_process,
)

__all__ = ["app", "migrated_template", "postgres_server", "quiet_app", "sandbox", "sandbox_process"]

SECRET = "whsec_" + "c2l4IHRpbWVzIGZvdXIgaXMgdHdlbnR5LWZvdXIgYnl0ZXM="
DEADLINES = {"remind": 24, "escalate": 24, "reject": 48}


@dataclass(frozen=True)
class Heard:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        """The body's JSON."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass
class Receiver:
    """A real HTTP server on loopback that keeps what it hears, and answers as it is told."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    #: The next answers (status, headers); afterwards everything is 204.
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def of(self, run_id: str, path: str = "/hook") -> list[dict[str, Any]]:
        """What was said about a run at this path, in the order in which it arrived."""
        said = [each.said for each in self.heard if each.path == path]
        return [each for each in said if each["data"]["run_id"] == run_id]


@contextmanager
def listening() -> Iterator[Receiver]:
    """A receiver, while the block runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.heard.append(Heard(self.path, headers, body))
            status, extra = receiver.answers.pop(0) if receiver.answers else (204, {})
            self.send_response(status)
            for name, value in {"Content-Length": "0", **extra}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

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
    with listening() as receiver:
        yield receiver


@pytest.fixture
def receiver(module_receiver: Receiver) -> Receiver:
    """The receiver, having heard nothing and answering everything well."""
    module_receiver.heard.clear()
    module_receiver.answers.clear()
    return module_receiver


@pytest.fixture(scope="session")
def deadline_projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of projects: `tiny`, and one for each thing that may happen at a due time."""
    folder = tmp_path_factory.mktemp("projects")
    (folder / "tiny.md").write_text(TINY_PROJECT)
    for on_due, hours in DEADLINES.items():
        rule = f"{{due_hours: {hours}, on_due: {on_due}}}"
        gates = f"gates: {{ideation: {rule}, publish: {rule}}}\noptions:"
        (folder / f"{on_due}.md").write_text(TINY_PROJECT.replace("options:", gates))
    return folder


def telling(receiver: Receiver, projects: Path) -> dict[str, Any]:
    """Settings that tell the receiver everything, and escalate to another path of it."""
    return {
        "projects_dir": projects,
        "notify_urls": [f"{receiver.url}/hook"],
        "notify_escalate_urls": [f"{receiver.url}/boss"],
        "notify_secret": SecretStr(SECRET),
        "notify_private_hosts": ["127.0.0.1"],
    }


class Desk:
    """The product without a worker: nothing moves but by hand, and due times come when they are called."""

    def __init__(self, made: App) -> None:
        self.app = made

    @property
    def services(self) -> Any:
        """The parts behind it."""
        return self.app.parts.services

    def advance(self, run_id: str) -> dict[str, Any]:
        """The run, moved as far as it goes."""
        self.app.in_loop(advance(self.services, run_id))
        return self.app.run(run_id)

    def at_ideation(self, project: str = "tiny") -> dict[str, Any]:
        """A run that waits at the ideation gate, told to whoever is told."""
        run = self.advance(self.app.start(project=project))
        assert run["status"] == "awaiting_ideation_approval", run
        self.tell()
        return run

    def tell(self) -> None:
        """Write down what is to be told and what is due, and send what is to be sent."""
        self.app.in_loop(enqueue_notifications(self.services))
        self.app.in_loop(send_due_notifications(self.services))

    def let_it_be_due(self, run_id: str) -> None:
        """The due time of the run's review has come, a second ago."""
        moved = self.app.rows(
            "update review_deadlines set due_at = due_at - (next_at - now()) - interval '1 second',"
            " next_at = now() - interval '1 second' where run_id = %s and next_at is not null returning 1",
            run_id,
        )
        assert len(moved) == 1

    def due(self, run_id: str) -> dict[str, Any] | None:
        """The row of the run's due time."""
        rows = self.app.rows("select * from review_deadlines where run_id = %s", UUID(run_id))
        return rows[0] if rows else None

    def kinds(self, run_id: str) -> list[str]:
        """What happened in a run, by kind."""
        return [event["kind"] for event in self.app.events(run_id)]


@pytest.fixture(scope="module")
def module_desk(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    module_receiver: Receiver,
    deadline_projects: Path,
) -> Iterator[Desk]:
    """The desk of a module."""
    settings = telling(module_receiver, deadline_projects)
    with opened(postgres_server, migrated_template, sandbox_process, with_worker=False, **settings) as made:
        yield Desk(made)


@pytest.fixture
def desk(module_desk: Desk, receiver: Receiver) -> Desk:
    """The desk, with nothing left over from before that is due or to be sent."""
    module_desk.app.rows("update review_deadlines set next_at = null returning 1")
    module_desk.app.rows("delete from untold returning 1")
    module_desk.app.rows("update deliveries set state = 'given_up', next_try_at = null returning 1")
    module_desk.app.rows("delete from disabled_endpoints returning 1")
    return module_desk
