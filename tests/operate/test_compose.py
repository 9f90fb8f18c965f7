"""The services of compose.yaml as processes of this machine, with a real Postgres and S3 server: no container runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api.settings import variables
from api.settings_types import PREFIXES
from tests.databases import fresh_database
from tests.storage.test_s3 import free_port, moto_server, s3

__all__ = ["moto_server", "s3"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
MYLOWARE = Path(sys.executable).with_name("myloware")
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


class Machine:
    """What the services of the file reach at the names of the file, at free ports of this machine."""

    def __init__(self, dsn: str, s3: dict[str, str], data: Path) -> None:
        self.data, self.port_of = data, {name: free_port() for name in ("api", "sandbox")}
        self.addresses = {
            "postgresql://myloware:myloware@postgres:5432/myloware": dsn,
            "http://store:8333": s3["AWS_ENDPOINT_URL"],
            "http://sandbox:8900": f"http://127.0.0.1:{self.port_of['sandbox']}",
            "http://api:8000": f"http://127.0.0.1:{self.port_of['api']}",
        }
        self.url = self.addresses["http://api:8000"]
        self.metrics_ports: list[int] = []

    def here(self, text: str) -> str:
        """Return a text of the file with its defaults and the addresses of this machine."""
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
        for address, local in self.addresses.items():
            text = text.replace(address, local)
        return text

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of a service, with a folder in place of its volume, and any port for its metrics."""
        named = {name: self.here(str(value)) for name, value in SERVICES[service]["environment"].items()}
        folder = self.data / SERVICES[service]["volumes"][0].partition(":")[0]
        if "MYLOWARE_METRICS_PORT" in named:  # the processes share this machine
            self.metrics_ports.append(free_port())
            named["MYLOWARE_METRICS_PORT"] = str(self.metrics_ports[-1])
        return {"PATH": os.environ["PATH"], "MYLOWARE_DATA_DIR": str(folder), **named}

    def command(self, service: str) -> list[str]:
        """Return the command of a service, with the port and the folder that it has here."""
        words = [self.here(word) for word in SERVICES[service]["command"]]
        words = [str(self.data / "sandbox") if word == "/data" else word for word in words]
        words = [str(self.port_of["sandbox"]) if word == "8900" else word for word in words]
        return [str(MYLOWARE), *words, *(["--port", str(self.port_of["api"])] if service == "api" else [])]

    @contextmanager
    def running(self, service: str, log: Path, *, port: int = 0, **changes: str) -> Iterator[None]:
        """Run a service for the block; it has to stop when it is told to. `changes` are those of its environment."""
        command = [*self.command(service), *(["--port", str(port)] if port else [])]
        environment = {**self.environment(service), **changes}
        with log.open("w") as output:
            process = subprocess.Popen(
                command, env=environment, cwd=self.data, stdout=output, stderr=output, start_new_session=True
            )
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGTERM), log.read_text()
            if service == "sandbox":  # its server stops with it
                with pytest.raises(httpx.TransportError):
                    httpx.get(f"{self.addresses['http://sandbox:8900']}/health")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def machine(postgres_server: str, migrated_template: str, s3: dict[str, str], tmp_path: Path) -> Iterator[Machine]:
    """A database and a bucket of their own."""
    with contextmanager(fresh_database)(postgres_server, migrated_template) as dsn:
        yield Machine(dsn, s3, tmp_path)


def until(url: str, log: Path) -> None:
    """Wait until an address answers 200."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = httpx.get(url)
            if answer.status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_what_the_file_reads_from_env_does_not_stop_a_service() -> None:
    """The services get all of `.env`: what looks like a setting there has to be one, or they refuse to start."""
    read = re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text())

    assert [name for name in read if name.startswith(PREFIXES) and name not in variables()] == []
    assert set(read) >= {"API_PORT", "MYLOWARE_LOG"}


def test_a_film_is_made_by_the_services(machine: Machine, s3: dict[str, str], tmp_path: Path) -> None:
    """A key is added, the console signed in to, and two workers make a film at the sandbox, stored in the bucket."""
    logs = {name: tmp_path / f"{name}.log" for name in ("sandbox", "api", "worker-1", "worker-2")}
    with ExitStack() as stack:
        stack.enter_context(machine.running("sandbox", logs["sandbox"]))
        until(f"{machine.addresses['http://sandbox:8900']}/health", logs["sandbox"])
        for name in ("api", "worker-1", "worker-2"):
            stack.enter_context(machine.running(name.partition("-")[0], logs[name]))
        until(f"{machine.url}/ready", logs["api"])
        port = machine.metrics_ports[-1]
        add = [str(MYLOWARE), "keys", "add", "Anna", "--can", "admin"]
        added = subprocess.run(add, env=machine.environment("api"), cwd=tmp_path, capture_output=True, text=True)
        key = added.stdout.split()[-1]
        client = stack.enter_context(httpx.Client(base_url=machine.url, headers={"X-API-Key": key}, timeout=30))

        signed_in = client.post("/sign-in", data={"key": key}, headers={"Origin": machine.url})
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/inbox"), added.stderr
        body = {"project": "shorts", "brief": "Rain", "options": {"clips": 2}}
        run_id = client.post("/v1/runs/start", json=body).json()["run_id"]
        for gate, status in (("ideation", "awaiting_publish_approval"), ("publish", "completed")):
            approve(client, run_id, gate)
            run = until_status(client, run_id, status)

        events = client.get(f"/v1/runs/{run_id}/events").json()["events"]
        assert {event["source"] for event in events} >= {"sora"}
        assert httpx.get(f"{s3['AWS_ENDPOINT_URL']}/films").text.count("<Key>") >= 4
        [notice] = [line for line in logs["api"].read_text().splitlines() if "SANDBOX" in line]
        assert json.loads(notice)["level"] == "warning"
        assert "myloware_runs{" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert run["artifacts"]["publication"]


def until_status(client: httpx.Client, run_id: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 300  # a film of three clips renders for minutes on a busy machine
    while True:
        answer = client.get(f"/v1/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        run: dict[str, Any] = answer.json()
        if run["status"] == status:
            return run
        assert run["status"] != "failed", run
        assert time.monotonic() < deadline, run
        time.sleep(1.5)  # under the rate limit


def approve(client: httpx.Client, run_id: str, gate: str) -> None:
    review = until_status(client, run_id, f"awaiting_{gate}_approval")["review"]
    body = {"gate": gate, "approved": True, "digest": review["digest"]}
    answer = client.post(f"/v1/runs/{run_id}/approve", json=body)
    assert answer.status_code == 200, answer.text
