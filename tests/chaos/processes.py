"""Processes of MyloWare under test: started through the fork server, signalled, and followed until they exit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from tests.chaos.background import BackgroundTasks
from tests.chaos.environment import ROOT, Environment
from tests.chaos.options import Role, Stop

#: A stopped process is resumed after so many seconds: longer than every timeout of the product.
FREEZE_SECONDS = 9.0


@dataclass
class Process:
    """A process of the product and its state."""

    name: str
    role: Role
    pid: int = 0
    exit_code: int | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    exited: asyncio.Event = field(default_factory=asyncio.Event)


class ProcessPool:
    """Starts processes and counts how they stop. Create it with `open_pool`."""

    def __init__(
        self, environment: Environment, tasks: BackgroundTasks, fork_server: asyncio.subprocess.Process
    ) -> None:
        self.environment, self.tasks = environment, tasks
        self.freeze_seconds = FREEZE_SECONDS
        self.kills = self.freezes = 0
        self._fork_server = fork_server
        self._processes: dict[str, Process] = {}
        self._by_pid: dict[int, Process] = {}

    async def start(self, name: str, role: Role, stops: Sequence[Stop] = (), port: int | None = None) -> Process:
        """Start a process with these stops; an API listens on `port`, or on the port of the environment."""
        process = self._processes[name] = Process(name, role)
        folder = self.environment.folder
        request = {
            "name": name,
            "role": role,
            "port": port or self.environment.port,
            "stops": [asdict(stop) for stop in stops],
            "environment": self.environment.settings,
            "log": str(folder / f"{role}.log"),
            "drain_file": str(self.environment.drain_file),
            "stop_log": str(folder / "stops.jsonl"),
        }
        assert self._fork_server.stdin is not None
        self._fork_server.stdin.write(json.dumps(request).encode() + b"\n")
        await self._fork_server.stdin.drain()
        await process.started.wait()
        return process

    def send_signal(self, process: Process, number: signal.Signals) -> None:
        """Send a process a signal unless it has exited."""
        with suppress(ProcessLookupError):
            if not process.exited.is_set():
                os.kill(process.pid, number)

    def executed_stops(self) -> list[dict[str, Any]]:
        """Return the stops that processes executed, with `failpoint` and `signal`, oldest first."""
        path = self.environment.folder / "stops.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def follow_events(self) -> None:
        """Update the processes from the events of the fork server. Raises RuntimeError when it exits."""
        assert self._fork_server.stdout is not None
        while line := await self._fork_server.stdout.readline():
            event = json.loads(line)
            match event["event"]:
                case "started":
                    process = self._processes[event["name"]]
                    process.pid = event["pid"]
                    self._by_pid[process.pid] = process
                    process.started.set()
                case "stopped":
                    self.freezes += 1
                    self.tasks.start(self._resume(self._by_pid[event["pid"]]))
                case "exited":
                    process = self._by_pid[event["pid"]]
                    process.exit_code = event["code"]
                    self.kills += process.exit_code == -signal.SIGKILL
                    process.exited.set()
        raise RuntimeError("The fork server exited; its error is on standard error.")

    async def _resume(self, process: Process) -> None:
        process.stopped.set()
        await asyncio.sleep(self.freeze_seconds)
        self.send_signal(process, signal.SIGCONT)

    def kill_all(self) -> None:
        """Kill all running processes with their children."""
        for process in self._processes.values():
            if process.pid and not process.exited.is_set():
                with suppress(psutil.NoSuchProcess):
                    kill_tree(process.pid)


@asynccontextmanager
async def open_pool(environment: Environment, tasks: BackgroundTasks) -> AsyncIterator[ProcessPool]:
    """Start the fork server; after the block cancel the tasks, kill all processes and stop the server."""
    fork_server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.fork_server", cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert fork_server.stdin is not None
    pool = ProcessPool(environment, tasks, fork_server)
    tasks.start(pool.follow_events())
    try:
        yield pool
    finally:
        await tasks.cancel_all()
        pool.kill_all()
        fork_server.stdin.close()
        await fork_server.wait()


def kill_tree(pid: int) -> None:
    """Kill a process with its children. Raises psutil.NoSuchProcess."""
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        process.kill()
