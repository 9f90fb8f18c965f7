"""The harness: it starts everything, kills everything, and keeps the people at work until every run has ended."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from storage.embedded_postgres import EmbeddedPostgres
from storage.migrate import migrate
from tests.chaos.actors import Actors
from tests.chaos.invariants import Facts, double_charges, double_posts, facts, forked, lost, repeated_takes, violations

ROOT = Path(__file__).parents[2]
KEYS = ["chaos-key-of-anna-00000", "chaos-key-of-ben-000000"]
WEATHER = {"drop": 0.15, "duplicate": 0.3, "delay_max": 3.0}
#: A frozen process is woken after so many seconds: longer than every time-out of the product.
FROZEN = 9.0
#: A process that came by its own point for so many seconds not once takes the next point that comes.
WITHIN = 12.0
#: How long everything may take to end once nothing is killed any more.
CALM = 300.0
#: What goes wrong at the providers, for one call each.
MISFORTUNES: tuple[dict[str, Any], ...] = (
    {"fault": "create_accept_then_500"},
    {"fault": "create_accept_then_hang", "seconds": 4.0},
    {"fault": "create_500"},
    {"fault": "create_429"},
    {"fault": "fail"},
    {"fault": "content_500"},
    {"fault": "content_truncated"},
    {"fault": "webhook_failed_after_completed"},
    {"fault": "webhook_before_response"},
    {"fault": "upload_accept_then_timeout", "seconds": 4.0},
    {"fault": "upload_500"},
    {"fault": "upload_429"},
    {"fault": "moderation_500"},
    {"fault": "llm_500_html"},
)
WORKER_POINTS = tuple(
    f"{what}.{when}"
    for what in ("submit", "find", "look", "answer", "commit", "checkpoint", "writes")
    for when in ("before", "after")
)
API_POINTS = ("commit.before", "commit.after")

PROFILES = """
[[profiles]]
hosts = ["127.0.0.1"]
models = ["sandbox-video"]
sizes = ["180x320", "720x1280"]
seconds = [3, 4, 8]
usd_per_second = "0.10"
poll_seconds = 1
patience_seconds = 12
"""

TINY = """---
title: Tiny
summary: One clip of three seconds.
clips: 1
clip_seconds: 3
clip_size: 180x320
platforms: [tiktok]
budget_usd: 5
options:
  clips: {minimum: 1, maximum: 3}
---
One calm shot. No faces, no brands.
"""


@dataclass
class Wanted:
    """How much of everything."""

    kills: int = 200
    runs: int = 100
    seed: int = 1
    minutes: float = 60.0
    at_once: int = 6
    #: Seconds that a process lives on average before its point is waited for.
    life: float = 8.0
    #: Seconds between two outages of the database; 0 for none.
    outages: float = 60.0
    misfortunes: bool = True


@dataclass
class Report:
    """What happened, and what is wrong with it."""

    kills: int
    freezes: int
    restarts: int
    by_itself: int
    outages: int
    seconds: float
    known: Facts
    broken: list[str]
    strange: list[str]
    points: Counter[str]
    retries: int

    @property
    def table(self) -> str:
        """The counts, one line each, and the verdict as the last line."""
        known = self.known
        clips = [order for order in known.orders if order["kind"] == "clip"]
        ends = Counter(
            run["status"] if run["status"] != "failed" else f"failed: {run['error']['code']}" for run in known.runs
        )
        rows = [
            ("kills", self.kills),
            ("frozen and woken", self.freezes),
            ("rolling restarts", self.restarts),
            ("ended by themselves", self.by_itself),
            ("database away", self.outages),
            ("runs", len(known.runs)),
            *((f"  {name}", n) for name, n in sorted(ends.items())),
            ("retries by a person", self.retries),
            ("clips ordered", len([order for order in clips if order["called_at"]])),
            ("clips charged", len(known.charges)),
            ("clips charged twice", len(double_charges(known)) + len(repeated_takes(known))),
            ("posts", len(known.posts)),
            ("posts too many", len(double_posts(known))),
            ("webhooks sent", known.webhooks.get("sent", 0)),
            ("webhooks kept", known.webhooks.get("told", 0)),
            ("decisions", len(known.approvals)),
            ("forked threads", len(forked(known))),
            ("lost", len(lost(known))),
            ("seconds", round(self.seconds)),
        ]
        lines = [f"{name:<24}{value:>8}" for name, value in rows]
        lines += [f"{'killed at ' + point:<24}{n:>8}" for point, n in sorted(self.points.items())]
        lines += [f"BROKEN: {said}" for said in self.broken] + [f"strange: {said}" for said in self.strange]
        verdict = f"{len(self.broken)} promises were broken." if self.broken else "Every promise was kept."
        return "\n".join([*lines, verdict])


@dataclass
class Process:
    """One process of the product, as the harness sees it."""

    name: str
    role: str
    pid: int = 0
    leaving: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    up: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    code: int | None = None


async def chaos(wanted: Wanted, say: Callable[[str], None] = print) -> Report:
    """Kill until enough was killed and enough runs were started; then let all end, and look."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**31
    folder = tempfile.mkdtemp(prefix="myloware-chaos-", dir=memory if roomy else None)
    harness = Harness(wanted, Path(folder), say)
    try:
        report = await harness.run()
    except BaseException:
        say(f"what was there is left in {folder}")
        raise
    if report.broken:
        say(f"what was there is left in {folder}")
    else:
        await asyncio.to_thread(shutil.rmtree, folder, True)
    return report


class Harness:
    """One run of the harness."""

    def __init__(self, wanted: Wanted, folder: Path, say: Callable[[str], None]) -> None:
        self.wanted, self.folder, self.say = wanted, folder, say
        self.chance = random.Random(wanted.seed)
        self.frozen = FROZEN
        self.calm, self.deaths = folder / "calm", folder / "deaths"
        self.processes: dict[str, Process] = {}
        self.by_pid: dict[int, Process] = {}
        self.kills = self.freezes = self.restarts = self.outages = self.by_itself = 0
        self._points = {"worker": _shuffled(WORKER_POINTS, self.chance), "api": _shuffled(API_POINTS, self.chance)}
        self._numbers = iter(range(1, 1_000_000))
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking: set[int] = set()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """The database, the sandbox and the forge, with no process of the product yet; all ended with the block."""
        async with AsyncExitStack() as stack:
            self.server = EmbeddedPostgres(self.folder / "postgres")
            await asyncio.to_thread(self.server.start)
            stack.push_async_callback(asyncio.to_thread, self.server.stop)
            await migrate(self.server.dsn)
            self.sandbox = await stack.enter_async_context(_sandbox(self.folder / "sandbox"))
            self.port = free_port()
            self.api = await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=httpx.Timeout(10, connect=2))
            )
            self.environment = await self._settings(self.server.dsn, self.sandbox)
            self.forge = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos.process", cwd=ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            stack.push_async_callback(self._end_all)
            self._keep(self._hear())
            yield

    async def run(self) -> Report:
        """Everything, from the first process to the report."""
        began = time.monotonic()
        async with self.opened():
            for name, role in (("api", "api"), ("worker-1", "worker"), ("worker-2", "worker")):
                self._keep(self._keep_up(name, role))
            people = Actors(self.api, self.sandbox, KEYS, random.Random(self.wanted.seed + 1))
            self._keep(people.live(lambda: self._more(people), self.wanted.at_once))
            self._keep(self._trouble(self.server, self.sandbox))
            await self._until_over(people, began)
            known = await facts(self.server.dsn, people.started, self.sandbox, people.answered_twice)
        return Report(
            kills=self.kills,
            freezes=self.freezes,
            restarts=self.restarts,
            by_itself=self.by_itself,
            outages=self.outages,
            seconds=time.monotonic() - began,
            known=known,
            broken=[*violations(known), *self._too_little(people)],
            strange=people.strange[:20],
            points=Counter(each["point"] for each in self._deaths() if each["sign"] == "SIGKILL"),
            retries=people.retries,
        )

    def _more(self, people: Actors) -> bool:
        if self.calm.exists():
            return False
        return len(people.started) < self.wanted.runs or self.kills < self.wanted.kills

    async def _until_over(self, people: Actors, began: float) -> None:
        """Return when every run has ended, or time is up."""
        told = ends = 0.0
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            enough = self.kills >= self.wanted.kills and len(people.started) >= self.wanted.runs
            if not self.calm.exists() and (enough or now - began > self.wanted.minutes * 60):
                self.calm.touch()
                ends = now + CALM
            if now - told > 10:
                told = now
                at = Counter(run["status"] for run in people.open.values())
                self.say(
                    f"{now - began:5.0f} s  {self.kills} kills, {self.freezes} frozen, {self.outages} outages, "
                    f"{len(people.started)} runs, {len(people.ended)} ended, open: {dict(at)}"
                )
            self._raise_what_failed()
            if self.calm.exists() and (not people.open or now > ends):
                return

    def _too_little(self, people: Actors) -> list[str]:
        """A harness that did not do what it was asked to has shown nothing."""
        wanted = self.wanted
        did = ((self.kills, wanted.kills, "kills"), (len(people.started), wanted.runs, "runs"))
        return [f"only {n} of {many} {what}" for n, many, what in did if n < many]

    def _raise_what_failed(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            task.result()
            self._tasks.discard(task)

    def _keep(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _settings(self, dsn: str, sandbox: httpx.AsyncClient) -> dict[str, str]:
        projects, profiles = self.folder / "projects", self.folder / "profiles.toml"
        projects.mkdir()
        (projects / "tiny.md").write_text(TINY)
        profiles.write_text(PROFILES)
        told = await sandbox.post(
            "/v1/webhook_endpoints", json={"url": f"http://127.0.0.1:{self.port}/v1/webhooks/sora"}
        )
        await sandbox.post(
            "/sandbox/faults", json={"fault": "webhook_weather", "times": None, "seed": self.wanted.seed, **WEATHER}
        )
        url = str(sandbox.base_url).rstrip("/")
        return {
            "DATABASE_URL": dsn,
            "MYLOWARE_DATA_DIR": str(self.folder / "data"),
            "MYLOWARE_PROJECTS_DIR": str(projects),
            "MYLOWARE_API_KEYS": ",".join(KEYS),
            "MYLOWARE_RATE_LIMIT": "1000000",
            "MYLOWARE_DAY_CAP_USD": "10000",
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": "sandbox",
            "OPENAI_MODEL": "sandbox-rules",
            "VIDEO_BASE_URL": f"{url}/v1",
            "VIDEO_API_KEY": "sandbox",
            "VIDEO_MODEL": "sandbox-video",
            "VIDEO_PROFILES": str(profiles),
            "VIDEO_WEBHOOK_SECRETS": told.json()["signing_secret"],
            "UPLOAD_POST_URL": f"{url}/api",
            "UPLOAD_POST_API_KEY": "sandbox",
        }

    # ---- processes -------------------------------------------------------------------------------------------------

    async def _keep_up(self, slot: str, role: str) -> None:
        """Keep one process of this role going: each lives by its plan, and is followed by the next."""
        while True:
            sort = self.chance.random()
            life = 1.0 + self.chance.expovariate(1 / self.wanted.life)
            calm = self.calm.exists()
            plan = [] if calm or sort >= 0.8 else self._plan(role, life)
            process = await self.start(f"{slot}.{next(self._numbers)}", role, plan)
            if not plan and not calm:
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.ended.wait(), life)
                if not process.ended.is_set() and not self.calm.exists():
                    if sort < 0.9 or role == "api":
                        self.signal(process, signal.SIGKILL)
                    else:
                        self.restarts += 1
                        self._keep(self._drained(process))
                        continue  # its successor starts beside it
            await process.ended.wait()
            if process.code != -signal.SIGKILL:
                self.by_itself += 1  # as when the database is away while it starts
                await asyncio.sleep(1)

    async def _drained(self, process: Process) -> None:
        """Ask a process to leave; it has to be gone within its grace."""
        process.leaving = True
        self.signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.ended.wait(), 40)
        except TimeoutError:
            self.signal(process, signal.SIGKILL)
            await process.ended.wait()
            raise AssertionError(f"{process.name} did not drain within 40 s") from None

    def _plan(self, role: str, life: float) -> list[dict[str, Any]]:
        points = self._points[role]
        plan: list[dict[str, Any]] = [{"point": next(points), "after": life, "within": WITHIN, "sign": "SIGKILL"}]
        if role == "worker" and self.chance.random() < 0.2:
            plan.insert(0, {"point": next(points), "after": life / 2, "within": WITHIN, "sign": "SIGSTOP"})
        return plan

    async def start(self, name: str, role: str, plan: list[dict[str, Any]], port: int | None = None) -> Process:
        """Start one process of the product with this plan; an API at `port`, if not at the usual one."""
        process = self.processes[name] = Process(name, role)
        order = {
            "name": name,
            "role": role,
            "port": port or self.port,
            "plan": plan,
            "environment": self.environment,
            "log": str(self.folder / f"{role}.log"),
            "calm": str(self.calm),
            "deaths": str(self.deaths),
        }
        assert self.forge.stdin is not None
        self.forge.stdin.write(json.dumps(order).encode() + b"\n")
        await self.forge.stdin.drain()
        await process.up.wait()
        return process

    async def _hear(self) -> None:
        """Take in what the forge tells of the processes."""
        assert self.forge.stdout is not None
        while line := await self.forge.stdout.readline():
            told = json.loads(line)
            if "started" in told:
                process = self.processes[told["started"]]
                process.pid = told["pid"]
                self.by_pid[process.pid] = process
                process.up.set()
                continue
            process = self.by_pid[told["pid"]]
            if "stopped" in told:
                self.freezes += 1
                self._keep(self._wake(process))
            else:
                process.code = told["ended"]
                self.kills += process.code == -signal.SIGKILL
                process.ended.set()

    async def _wake(self, process: Process) -> None:
        process.stopped.set()
        await asyncio.sleep(self.frozen)
        self.signal(process, signal.SIGCONT)

    def signal(self, process: Process, sign: signal.Signals) -> None:
        """Send a process a signal, if it lives."""
        with suppress(ProcessLookupError):
            if not process.ended.is_set():
                os.kill(process.pid, sign)

    async def _end_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self.processes.values():
            if process.pid and not process.ended.is_set():
                with suppress(psutil.NoSuchProcess):
                    for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)):
                        one.kill()
        if self.forge.stdin is not None:
            self.forge.stdin.close()
        await self.forge.wait()

    # ---- the world around them -------------------------------------------------------------------------------------

    async def _trouble(self, server: EmbeddedPostgres, sandbox: httpx.AsyncClient) -> None:
        """Take the database away for some seconds now and then, and let providers stumble."""
        since = time.monotonic()
        while not self.calm.exists():
            await asyncio.sleep(3)
            if self.wanted.misfortunes and self.chance.random() < 0.5:
                await sandbox.post("/sandbox/faults", json=self.chance.choice(MISFORTUNES))
            if self.wanted.outages and time.monotonic() - since > self.wanted.outages:
                self.outages += 1
                if self.outages % 2 == 0:
                    _crash(server)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(self.chance.uniform(2, 6))
                await asyncio.to_thread(server.start)
                since = time.monotonic()
        for one in MISFORTUNES:
            await sandbox.delete("/sandbox/faults", params={"fault": one["fault"]})

    def _deaths(self) -> list[dict[str, Any]]:
        if not self.deaths.exists():
            return []
        return [json.loads(line) for line in self.deaths.read_text().splitlines()]


def _crash(server: EmbeddedPostgres) -> None:
    """Kill the database as a power cut does: its next start has to recover."""
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        first = psutil.Process(int((server.data / "postmaster.pid").read_text().split("\n", 1)[0]))
        for process in (first, *first.children(recursive=True)):
            process.kill()


def _shuffled(points: tuple[str, ...], chance: random.Random) -> Any:
    """All points in one order, then in another, for ever."""
    while True:
        yield from chance.sample(points, len(points))


@asynccontextmanager
async def _sandbox(state: Path) -> AsyncIterator[httpx.AsyncClient]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--state", str(state), "--parent-watch", cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = json.loads(await process.stdout.readline())["sandbox"]
        headers = {"Authorization": "Bearer any"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            yield client
    finally:
        process.stdin.close()
        await process.wait()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
