"""Fixtures: the whole product over a fresh database, served on a loopback port, with the sandbox as every vendor."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import psycopg
import pytest
import uvloop
from psycopg.rows import dict_row
from pydantic import SecretStr

from api.http_server import run_server
from api.listening import listen, url_of
from api.settings import Settings
from api.wiring import AppState, open_app_state, reconcile_keys
from prompts.project import FOLDER
from providers.orders import digest_of
from providers.webhooks import parse_secret
from runs.worker import run_worker
from tests.databases import fast_folder, fresh_database
from tests.openapi import check_response

T = TypeVar("T")

ANNA, BEN = "key-of-anna-000000000000", "key-of-ben-0000000000000"

#: Frame sizes that only tests use: a whole film takes seconds.
PROFILES = """
[[profiles]]
hosts = ["127.0.0.1"]
models = ["sandbox-video"]
sizes = ["180x320", "720x1280"]
seconds = [1, 2, 3, 4, 8]
usd_per_second = "0.10"
poll_seconds = 1
lookup_window_seconds = 2
"""

TINY_PROJECT = """---
title: Tiny
summary: One clip of three seconds.
clips: 1
clip_seconds: 3
clip_size: 180x320
film_size: 360x640
platforms: [tiktok, youtube]
budget_usd: 5
options:
  clips: {minimum: 1, maximum: 3}
---
One calm shot. No faces, no brands.
"""

PAIR_PROJECT = TINY_PROJECT.replace("clips: 1\nclip_seconds: 3", "clips: 2\nclip_seconds: 2").replace(
    "One clip of three", "Two of two"
)
FOUR_PROJECT = TINY_PROJECT.replace(
    "clips: 1\nclip_seconds: 3", "clips: 4\nclip_seconds: 1\ncrossfade_seconds: 0.25"
).replace("One clip of three", "Four of one")


def one_clip_shorts(folder: Path, name: str = "shorts", built_in: Path = FOLDER) -> dict[str, str]:
    """Write `shorts` with one clip and a small film as the project `name`; return the setting with which it is found.

    For tests of what is around a film: the default one, which `make demo` makes, takes 40 seconds of a processor.
    """
    text = (built_in / "shorts.md").read_text()
    small = text.replace("\nclips: 3\n", "\nclips: 1\nfilm_size: 360x640\n")
    assert small != text
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(small)
    return {"MYLOWARE_PROJECTS_DIR": str(folder)}


class SandboxClient:
    """A running `python -m sandbox` and its admin API."""

    def __init__(self, state: Path, port: str = "0") -> None:
        self.state = state
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--state", str(state), "--port", port, "--parent-watch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["sandbox"]
        # A connection that was idle may be closed by the server while the next request is sent.
        limits = httpx.Limits(max_keepalive_connections=0)
        headers = {"Authorization": "Bearer any"}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=30, limits=limits)

    def close(self) -> None:
        """Stop the process: it ends when its standard input does."""
        self.client.close()
        self._process.communicate(timeout=20)

    def fault(self, name: str, times: int | None = 1, **params: Any) -> None:
        """Inject a fault for the next `times` matching requests; None: for all of them."""
        answer = self.client.post("/sandbox/faults", json={"fault": name, "times": times, **params})
        assert answer.status_code == 201, answer.text

    def clear(self) -> None:
        """Remove the faults that were not met."""
        self.client.delete("/sandbox/faults")

    def counts(self) -> dict[str, Any]:
        """Return how many orders were charged and posts published, by all clients."""
        counted: dict[str, Any] = self.client.get("/sandbox/counts").json()
        return counted

    def charges(self, run_id: str) -> list[dict[str, Any]]:
        """Return the charges of one run: every prompt contains its correlation tag."""
        tag = f"(Slate {digest_of(run_id)[:8]}-"
        return [charge for charge in self.client.get("/sandbox/charges").json() if tag in charge["prompt"]]

    def posts(self, digest: str) -> list[dict[str, Any]]:
        """Return the uploads of one film."""
        return [post for post in self.client.get("/sandbox/posts").json() if post["sha256"] == digest]

    @contextmanager
    def webhooks_to(self, url: str) -> Iterator[str]:
        """Send webhooks to `url` while the block runs; yields the signing secret."""
        endpoint = self.client.post("/v1/webhook_endpoints", json={"url": url}).json()
        try:
            yield endpoint["signing_secret"]
        finally:
            self.client.delete(f"/v1/webhook_endpoints/{endpoint['id']}")


class App:
    """The product: API and worker in a thread of their own, used over HTTP. Its client checks responses by OpenAPI."""

    def __init__(self, settings: Settings, sandbox: SandboxClient, *, with_worker: bool = True) -> None:
        self.settings = settings
        self.sandbox = sandbox
        self.dsn = settings.database_url.get_secret_value() if settings.database_url else ""
        self.url = ""
        self._with_worker = with_worker
        self._listening = listen()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="app")

    def __enter__(self) -> Self:
        self.thread.start()
        self._ready.wait(60)
        if self._error:
            raise self._error
        self.url = url_of(self._listening)
        self.client = self.client_of(ANNA)
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self.thread.join(60)
        if self._error:
            raise self._error

    def client_of(self, key: str) -> httpx.Client:
        """Return a client with this API key, which checks every response against the OpenAPI description."""
        return httpx.Client(
            base_url=self.url, headers={"X-API-Key": key}, timeout=30, event_hooks={"response": [check_response]}
        )

    def _run(self) -> None:
        try:
            uvloop.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with open_app_state(self.settings) as state:
            await reconcile_keys(self.settings, state.services.db)
            async with run_server(state, self._listening):
                self.state: AppState = state
                self._ready.set()
                if not self._with_worker:
                    await self._stop.wait()
                    return
                async with run_worker(state.services):
                    await self._stop.wait()

    def in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine, run in the event loop of the product."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of an SQL query."""
        with psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[call-overload, no-any-return]

    def start(self, brief: str = "Rain on a quiet window", project: str = "tiny", **fields: Any) -> str:
        """Start a run and return its id."""
        answer = self.client.post("/v1/runs/start", json={"project": project, "brief": brief, **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["run_id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run as the API shows it."""
        answer = self.client.get(f"/v1/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    def decide(self, run_id: str, gate: str, approved: bool = True, **fields: Any) -> dict[str, Any]:
        """Decide at a gate; returns the run of the response."""
        body = {"gate": gate, "approved": approved, **fields}
        answer = self.client.post(f"/v1/runs/{run_id}/approve", json=body)
        assert answer.status_code == 200, answer.text
        decided: dict[str, Any] = answer.json()
        return decided

    def until(self, run_id: str, status: str, *, seconds: float = 150, revision: int | None = None) -> dict[str, Any]:
        """Wait for a status (and revision) and return the run. Fails as soon as the run has ended otherwise."""

        def matches(run: dict[str, Any]) -> bool:
            return run["status"] == status and revision in (None, run["revision"])

        return self.until_true(run_id, matches, seconds=seconds, status=status)

    def until_true(
        self, run_id: str, condition: Callable[[dict[str, Any]], bool], *, seconds: float = 150, status: str = ""
    ) -> dict[str, Any]:
        """Wait for a condition and return the run. Fails as soon as the run has ended without it."""
        deadline, pause = time.monotonic() + seconds, 0.05
        while True:
            run = self.run(run_id)
            if condition(run):
                return run
            ended = run["status"] in ("completed", "failed")
            assert not ended, f"{run['status']}: {run['error']}"
            assert time.monotonic() < deadline, f"{status} not in time: {run}"
            time.sleep(pause)
            pause = min(1.2 * pause, 0.2)

    def complete(self, run_id: str) -> dict[str, Any]:
        """Approve a run at both gates and return it when it has completed."""
        self.until(run_id, "awaiting_ideation_approval")
        self.decide(run_id, "ideation")
        self.until(run_id, "awaiting_publish_approval")
        self.decide(run_id, "publish")
        return self.until(run_id, "completed")

    def events(self, run_id: str, after: int = 0) -> list[dict[str, Any]]:
        """Return the events of a run."""
        answer = self.client.get(f"/v1/runs/{run_id}/events", params={"after": after})
        events: list[dict[str, Any]] = answer.json()["events"]
        return events


def settings_for(dsn: str, folder: Path, sandbox: SandboxClient, **changes: Any) -> Settings:
    """Return settings that use the sandbox for every vendor, and projects that are quick to render."""
    projects = folder / "projects"
    projects.mkdir(parents=True, exist_ok=True)
    (projects / "tiny.md").write_text(TINY_PROJECT)
    (projects / "pair.md").write_text(PAIR_PROJECT)
    (projects / "four.md").write_text(FOUR_PROJECT)
    profiles = folder / "profiles.toml"
    profiles.write_text(PROFILES)
    values: dict[str, Any] = {
        "data_dir": folder / "data",
        "database_url": SecretStr(dsn),
        "projects_dir": projects,
        "video_profiles": profiles,
        "api_keys": [SecretStr(ANNA), SecretStr(BEN)],
        "rate_limit": 100_000,
        "day_cap_usd": 1000,
        "openai_base_url": f"{sandbox.url}/v1",
        "openai_api_key": SecretStr("sandbox"),
        "openai_model": "sandbox-rules",
        "video_base_url": f"{sandbox.url}/v1",
        "video_api_key": SecretStr("sandbox"),
        "video_model": "sandbox-video",
        "upload_post_url": f"{sandbox.url}/api",
        "upload_post_api_key": SecretStr("sandbox"),
    }
    return Settings(_env_file=None, **{**values, **changes})  # type: ignore[call-arg]


@contextmanager
def open_app(
    server: str,
    template: str,
    sandbox: SandboxClient,
    *,
    webhooks: bool = True,
    with_worker: bool = True,
    **changes: Any,
) -> Iterator[App]:
    """Run an app with a database of its own, which is dropped afterwards. Without `webhooks` clips are only polled."""
    with (
        contextmanager(fresh_database)(server, template) as dsn,
        tempfile.TemporaryDirectory(prefix="myloware-app-", dir=fast_folder()) as folder,
    ):
        app = App(settings_for(dsn, Path(folder), sandbox, **changes), sandbox, with_worker=with_worker)
        url = f"{url_of(app._listening)}/v1/webhooks/sora" if webhooks else "http://127.0.0.1:9/unused"
        with sandbox.webhooks_to(url) as secret:
            app.settings = app.settings.model_copy(update={"video_webhook_secrets": [parse_secret(secret)]})
            with app:
                yield app


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxClient]:
    """The sandbox process of the session."""
    with tempfile.TemporaryDirectory(prefix="myloware-sandbox-", dir=fast_folder()) as folder:
        running = SandboxClient(Path(folder))
        yield running
        running.close()


@pytest.fixture
def sandbox(sandbox_process: SandboxClient) -> Iterator[SandboxClient]:
    """The sandbox, without injected faults before and after."""
    sandbox_process.clear()
    yield sandbox_process
    sandbox_process.clear()


@pytest.fixture(scope="module")
def app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product for the tests of one module, each with runs of its own."""
    with open_app(postgres_server, migrated_template, sandbox_process) as opened:
        yield opened


@pytest.fixture(scope="module")
def quiet_app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product without a worker: events are recorded, and no run advances."""
    with open_app(postgres_server, migrated_template, sandbox_process, with_worker=False) as opened:
        yield opened
