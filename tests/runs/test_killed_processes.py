"""After `kill -9` at any stage of a run the next process continues it, and nothing is paid or published twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.listening import listen
from tests.app import ANNA, PROFILES, TINY_PROJECT, SandboxClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from cli.main import app; sys.argv[0] = 'myloware'; app()"
Run = dict[str, Any]


class Server:
    """`myloware serve` in its own process, on one data folder, one sandbox and one port."""

    def __init__(self, folder: Path, sandbox: SandboxClient) -> None:
        (folder / "projects").mkdir()
        (folder / "projects" / "tiny.md").write_text(TINY_PROJECT)
        (folder / "profiles.toml").write_text(PROFILES)
        with listen() as listener:
            self.port = listener.getsockname()[1]
        self.folder = folder
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "MYLOWARE_DATA_DIR": str(folder / "data"),
            "MYLOWARE_PROJECTS_DIR": str(folder / "projects"),
            "MYLOWARE_API_KEYS": ANNA,
            "MYLOWARE_RATE_LIMIT": "100000",
            "VIDEO_PROFILES": str(folder / "profiles.toml"),
            "VIDEO_BASE_URL": sandbox.url,
            "VIDEO_MODEL": "sandbox-video",
            "VIDEO_API_KEY": "sandbox",
            "OPENAI_BASE_URL": sandbox.url,
            "OPENAI_API_KEY": "sandbox",
            "OPENAI_MODEL": "sandbox-rules",
            "UPLOAD_POST_URL": sandbox.url,
            "UPLOAD_POST_API_KEY": "sandbox",
        }
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"X-API-Key": ANNA}, timeout=10, trust_env=False
        )

    def start(self) -> None:
        """Start the process, and return when it answers."""
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "serve", "--port", str(self.port)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.client.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the process without warning."""
        self.process.kill()
        self.process.wait()

    def kill_and_restart(self) -> None:
        """Replace the process by another one."""
        self.kill()
        self.start()

    def run(self, run_id: str) -> Run:
        response = self.client.get(f"/v1/runs/{run_id}")
        assert response.status_code == 200, response.text
        run: Run = response.json()
        return run

    def wait_until(self, run_id: str, is_reached: Callable[[Run], bool], seconds: float = 150) -> Run:
        """Return the run once `is_reached` is true of it."""
        deadline = time.monotonic() + seconds
        while not is_reached(run := self.run(run_id)):
            assert run["status"] not in ("completed", "failed"), run
            assert time.monotonic() < deadline, run
            time.sleep(0.02)
        return run

    def approve(self, run_id: str, gate: str) -> None:
        response = self.client.post(f"/v1/runs/{run_id}/approve", json={"gate": gate, "approved": True})
        assert response.status_code == 200, response.text


@contextmanager
def run_server(folder: Path, sandbox: SandboxClient) -> Iterator[Server]:
    """Run a server with its database, and stop it regularly in the end."""
    server = Server(folder, sandbox)
    server.start()
    try:
        yield server
        server.process.terminate()
        assert server.process.wait(30) == 0, (folder / "server.log").read_text()
    finally:
        server.client.close()
        if server.process.poll() is None:
            server.kill()


def has_status(status: str) -> Callable[[Run], bool]:
    return lambda run: run["status"] == status


def test_run_survives_its_processes(tmp_path: Path, sandbox: SandboxClient) -> None:
    """Killed in every status, and between the call that pays and its answer, a run continues to the same film."""
    with run_server(tmp_path, sandbox) as server:
        response = server.client.post("/v1/runs/start", json={"project": "tiny", "brief": "Rain on a tin roof"})
        run_id = response.json()["run_id"]
        server.kill_and_restart()  # pending, or running

        review = server.wait_until(run_id, has_status("awaiting_ideation_approval"))["review"]
        server.kill_and_restart()
        assert server.run(run_id)["review"] == review
        sandbox.fault("create_accept_then_hang", seconds=1.0)
        sandbox.fault("slow", seconds=1)
        server.approve(run_id, "ideation")
        _wait_until_charged(sandbox, run_id)
        server.kill_and_restart()  # the provider has the order, and its answer is lost

        run = server.wait_until(run_id, lambda run: run["status"] in ("awaiting_video_generation", "awaiting_render"))
        (clip,) = run["artifacts"]["clip_manifest"]["clips"]
        server.wait_until(run_id, has_status("awaiting_render"))
        server.kill_and_restart()  # during the render

        run = server.wait_until(run_id, has_status("awaiting_publish_approval"), seconds=90)
        (same,) = run["artifacts"]["clip_manifest"]["clips"]
        assert (same["take"], clip["take"]) == (1, 1)
        assert clip["task_id"] in (None, same["task_id"])
        server.approve(run_id, "publish")
        server.kill_and_restart()  # right after the response to the approval

        run = server.wait_until(run_id, has_status("completed"))
        assert len(sandbox.charges(run_id)) == 1
        assert run["cost"]["spent_usd"] == 0.3
        assert len(sandbox.posts(run["artifacts"]["final_video"]["digest"])) == 1
        takes = [event["subject"] for event in _events(server, run_id) if event["kind"] == "order.submitted"]
        assert len(takes) == len(set(takes)) == 3


def _wait_until_charged(sandbox: SandboxClient, run_id: str) -> None:
    deadline = time.monotonic() + 20
    while not sandbox.charges(run_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _events(server: Server, run_id: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = server.client.get(f"/v1/runs/{run_id}/events").json()["events"]
    return events
