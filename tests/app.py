"""Fixtures: the whole product over a fresh database, served on a loopback port, with the sandbox as the outside."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from api.settings import Settings
from api.wiring import AppState, open_app_state
from cli.serve import listen_on_free_port, run_server, url_of
from providers.orders import digest_of
from runs.worker import run_worker
from tests.databases import _fresh, fast_folder, migrated_template, postgres_server

__all__ = ["app", "migrated_template", "postgres_server", "quiet_app", "sandbox", "sandbox_process"]

ANNA, BEN = "key-of-anna-000000000000", "key-of-ben-0000000000000"

#: With pictures too small for anybody but a test, so that a whole film takes seconds.
PROFILES = """
[[profiles]]
hosts = ["127.0.0.1"]
models = ["sandbox-video"]
sizes = ["180x320", "720x1280"]
seconds = [1, 2, 3, 4, 8]
usd_per_second = "0.10"
poll_seconds = 1
patience_seconds = 2
"""

TINY_PROJECT = """---
title: Tiny
summary: One clip of three seconds.
clips: 1
clip_seconds: 3
clip_size: 180x320
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


class SandboxClient:
    """A running `python -m sandbox`, and what its admin tells."""

    def __init__(self, state: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--state", str(state), "--parent-watch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["sandbox"]
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": "Bearer any"}, timeout=30)

    def close(self) -> None:
        """End it: it ends when its input does."""
        self.client.close()
        self._process.communicate(timeout=20)

    def fault(self, name: str, times: int | None = 1, **params: Any) -> None:
        """Order a misfortune."""
        answer = self.client.post("/sandbox/faults", json={"fault": name, "times": times, **params})
        assert answer.status_code == 201, answer.text

    def clear(self) -> None:
        """Forget the misfortunes still to come."""
        self.client.delete("/sandbox/faults")

    def counts(self) -> dict[str, Any]:
        """What was paid for and published by everybody."""
        counted: dict[str, Any] = self.client.get("/sandbox/counts").json()
        return counted

    def charges(self, run_id: str) -> list[dict[str, Any]]:
        """What one run was charged for: its slate stands in every prompt."""
        slate = f"(Slate {digest_of(run_id)[:8]}-"
        return [charge for charge in self.client.get("/sandbox/charges").json() if slate in charge["prompt"]]

    def posts(self, digest: str) -> list[dict[str, Any]]:
        """The uploads of one film."""
        return [post for post in self.client.get("/sandbox/posts").json() if post["sha256"] == digest]

    @contextmanager
    def told(self, url: str) -> Iterator[str]:
        """Its webhooks go to `url` while the block runs; gives the secret they are signed with."""
        endpoint = self.client.post("/v1/webhook_endpoints", json={"url": url}).json()
        try:
            yield endpoint["signing_secret"]
        finally:
            self.client.delete(f"/v1/webhook_endpoints/{endpoint['id']}")


class App:
    """The product: API and worker in a thread of their own, spoken to over HTTP as by anybody."""

    def __init__(self, settings: Settings, sandbox: SandboxClient, *, with_worker: bool = True) -> None:
        self.settings = settings
        self.sandbox = sandbox
        self.dsn = settings.database_url.get_secret_value() if settings.database_url else ""
        self.url = ""
        self._with_worker = with_worker
        self._listening = listen_on_free_port()
        self._ready: asyncio.Event | threading.Event = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="app")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(60)  # type: ignore[call-arg, unused-coroutine]
        if self._error:
            raise self._error
        self.url = url_of(self._listening)
        self.client = httpx.Client(base_url=self.url, headers={"X-API-Key": ANNA}, timeout=30)
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with open_app_state(self.settings) as parts, run_server(parts, self._listening):
            self.parts: AppState = parts
            self._ready.set()
            if not self._with_worker:
                await self._stop.wait()
                return
            async with run_worker(parts.services, parts.queue):
                await self._stop.wait()

    def in_loop(self, work: Any) -> Any:
        """The result of a coroutine of the product, run where the product runs."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What the database says."""
        with psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[call-overload, no-any-return]

    def start(self, brief: str = "Rain on a quiet window", project: str = "tiny", **fields: Any) -> str:
        """The id of a new run."""
        answer = self.client.post("/v1/runs/start", json={"project": project, "brief": brief, **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["run_id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """How a run stands."""
        answer = self.client.get(f"/v1/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    def decide(self, run_id: str, gate: str, approved: bool = True, **fields: Any) -> dict[str, Any]:
        """Decide at a gate; the run as it is answered."""
        body = {"gate": gate, "approved": approved, **fields}
        answer = self.client.post(f"/v1/runs/{run_id}/approve", json=body)
        assert answer.status_code == 200, answer.text
        decided: dict[str, Any] = answer.json()
        return decided

    def until(self, run_id: str, status: str, *, seconds: float = 60, revision: int | None = None) -> dict[str, Any]:
        """The run once it has this status. Fails as soon as it has ended otherwise."""

        def there(run: dict[str, Any]) -> bool:
            return run["status"] == status and revision in (None, run["revision"])

        return self.until_true(run_id, there, seconds=seconds, status=status)

    def until_true(
        self, run_id: str, there: Callable[[dict[str, Any]], bool], *, seconds: float = 60, status: str = ""
    ) -> dict[str, Any]:
        """The run once `there` says so."""
        deadline = time.monotonic() + seconds
        while True:
            run = self.run(run_id)
            if there(run):
                return run
            ended = run["status"] in ("completed", "failed")
            assert not ended, f"{run['status']}: {run['error']}"
            assert time.monotonic() < deadline, f"{status} not in time: {run}"
            time.sleep(0.05)

    def completed(self, run_id: str) -> dict[str, Any]:
        """The run, approved at both gates and finished."""
        self.until(run_id, "awaiting_ideation_approval")
        self.decide(run_id, "ideation")
        self.until(run_id, "awaiting_publish_approval")
        self.decide(run_id, "publish")
        return self.until(run_id, "completed")

    def events(self, run_id: str, after: int = 0) -> list[dict[str, Any]]:
        """What happened in a run."""
        answer = self.client.get(f"/v1/runs/{run_id}/events", params={"after": after})
        happened: list[dict[str, Any]] = answer.json()["events"]
        return happened


def settings_for(dsn: str, folder: Path, sandbox: SandboxClient, **changes: Any) -> Settings:
    """Settings that name the sandbox for everything, and a project that is quick to make."""
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
def opened(
    server: str,
    template: str,
    sandbox: SandboxClient,
    *,
    webhooks: bool = True,
    with_worker: bool = True,
    **changes: Any,
) -> Iterator[App]:
    """A world of its own, gone afterwards with its database. Without `webhooks` clips are only polled."""
    with (
        contextmanager(_fresh)(server, template) as dsn,
        tempfile.TemporaryDirectory(prefix="myloware-world-", dir=fast_folder()) as folder,
    ):
        made = App(settings_for(dsn, Path(folder), sandbox, **changes), sandbox, with_worker=with_worker)
        url = f"{url_of(made._listening)}/v1/webhooks/sora" if webhooks else "http://127.0.0.1:9/nobody"
        with sandbox.told(url) as secret:
            made.settings = made.settings.model_copy(update={"video_webhook_secrets": [SecretStr(secret)]})
            with made:
                yield made


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxClient]:
    """The sandbox of the session."""
    with tempfile.TemporaryDirectory(prefix="myloware-sandbox-", dir=fast_folder()) as folder:
        running = SandboxClient(Path(folder))
        yield running
        running.close()


@pytest.fixture
def sandbox(sandbox_process: SandboxClient) -> Iterator[SandboxClient]:
    """The sandbox, with no misfortune ordered before or after."""
    sandbox_process.clear()
    yield sandbox_process
    sandbox_process.clear()


@pytest.fixture(scope="module")
def app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product for the tests of one module, each with runs of its own."""
    with opened(postgres_server, migrated_template, sandbox_process) as made:
        yield made


@pytest.fixture(scope="module")
def quiet_app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The same without a worker: what is told is kept, and nothing moves."""
    with opened(postgres_server, migrated_template, sandbox_process, with_worker=False) as made:
        yield made
