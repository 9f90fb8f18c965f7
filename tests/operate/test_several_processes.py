"""Two API processes and four workers, each with a data folder of its own, share a database, a bucket and a sandbox.

The server is Debian's PostgreSQL where the package is installed: the names of the tests say which one it is.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app import one_clip_shorts
from tests.operate.own_postgres import describe_postgres, own_postgres
from tests.operate.test_compose import MYLOWARE, Machine, approve, until, until_status
from tests.storage.test_s3 import free_port, moto_server, s3

__all__ = ["moto_server", "s3"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
#: The tests poll.
LIMITS = {"MYLOWARE_RATE_LIMIT": "600"}
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Cluster:
    """The processes: two APIs that run, and workers that are started by number."""

    def __init__(self, machine: Machine, folder: Path, stack: ExitStack) -> None:
        self._machine, self._folder = machine, folder
        self._projects = one_clip_shorts(folder / "projects")
        self.urls = [machine.url, f"http://127.0.0.1:{(second := free_port())}"]
        stack.enter_context(machine.running("sandbox", folder / "sandbox.log"))
        until(f"{machine.addresses['http://sandbox:8900']}/health", folder / "sandbox.log")
        settings = LIMITS | self._projects
        stack.enter_context(machine.running("api", folder / "api-1.log", **settings))
        settings |= {"MYLOWARE_DATA_DIR": str(folder / "data-api-2")}
        stack.enter_context(machine.running("api", folder / "api-2.log", port=second, **settings))
        for number, url in enumerate(self.urls, start=1):
            until(f"{url}/health", folder / f"api-{number}.log")
        add = [str(MYLOWARE), "keys", "add", "Anna", "--can", "admin"]
        added = subprocess.run(add, env=machine.environment("api"), cwd=folder, capture_output=True, text=True)
        self.key = added.stdout.split()[-1]
        headers = {"X-API-Key": self.key}
        self._clients = cycle(
            [stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60)) for url in self.urls]
        )

    def other(self) -> httpx.Client:
        """Return a client of the API process that was not asked last."""
        return next(self._clients)

    def worker(self, number: int) -> AbstractContextManager[None]:
        """Run a worker for a block."""
        log, data = self._folder / f"worker-{number}.log", self._folder / f"data-{number}"
        return self._machine.running("worker", log, MYLOWARE_DATA_DIR=str(data), **self._projects)

    def say(self, message: str, session_id: str | None) -> dict[str, Any]:
        """Send a message of a conversation to the other API process, and return the response."""
        body = {"message": message, **({"session_id": session_id} if session_id else {})}
        answer = self.other().post("/v1/chat/supervisor", json=body)
        assert answer.status_code == 200, answer.text
        response: dict[str, Any] = answer.json()
        return response


@pytest.fixture(params=[describe_postgres()])
def cluster(s3: dict[str, str], tmp_path: Path) -> Iterator[Cluster]:
    """The cluster, without a worker, on an empty database of a Postgres of its own."""
    with own_postgres() as dsn, ExitStack() as stack:
        yield Cluster(Machine(dsn, s3, tmp_path), tmp_path, stack)


def test_each_step_of_a_run_and_each_message_is_for_another_process(cluster: Cluster) -> None:
    """A conversation makes a film: each message by the other API, and from gate to gate by another worker."""
    first = cluster.say("Make a video about rain for shorts", None)
    [run_id], session_id = first["run_ids"], first["session_id"]
    for number, gate in enumerate(("ideation", "publish"), start=1):
        with cluster.worker(number):
            until_status(cluster.other(), run_id, f"awaiting_{gate}_approval")
        question = cluster.say(f"approve run {run_id}", session_id)["response"]
        [code] = set(re.findall(r"approve ([A-Z]\d[A-Z]\d)", question))
        assert cluster.say(f"approve {code}", session_id)["run_ids"] == [run_id]
    with cluster.worker(3):
        run = until_status(cluster.other(), run_id, "completed")

    events = cluster.other().get(f"/v1/runs/{run_id}/events").json()["events"]
    sent = Counter(event["subject"] for event in events if event["kind"] == "order.submitted")
    assert {key.partition(":")[2].partition(":")[0] for key in sent} >= {"clip", "render", "publication"}
    assert (set(sent.values()), run["cost"]["reserved_usd"]) == ({1}, 0)


def test_four_workers_share_runs(cluster: Cluster) -> None:
    """Four runs are completed, each at the price of one clip and published once."""
    with ExitStack() as stack:
        for number in range(1, 5):
            stack.enter_context(cluster.worker(number))
        body = {"project": "shorts", "brief": "Rain"}
        started = [cluster.other().post("/v1/runs/start", json=body) for _ in range(4)]
        run_ids = [answer.json()["run_id"] for answer in started]
        for gate in ("ideation", "publish"):
            for run_id in run_ids:
                approve(cluster.other(), run_id, gate)
        runs = [until_status(cluster.other(), run_id, "completed") for run_id in run_ids]

    assert len({run["cost"]["spent_usd"] for run in runs}) == 1
    assert len({str(run["artifacts"]["publication"]) for run in runs}) == 4


def test_a_session_of_an_mcp_client_belongs_to_its_process(cluster: Cluster) -> None:
    """The other process answers 404, on which the client begins a new session; it answers calls without one."""
    first, second = cluster.other(), cluster.other()
    headers = {"Accept": "application/json, text/event-stream"}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    begun = first.post("/mcp", json=hello, headers=headers)
    headers |= {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-06-18"}
    call = {"jsonrpc": "2.0", "method": "notifications/initialized"}

    assert [client.post("/mcp", json=call, headers=headers).status_code for client in (first, second)] == [202, 404]
