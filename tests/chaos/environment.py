"""Services around the processes of MyloWare: database, sandbox, settings and an HTTP client of the API."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from storage.embedded_postgres import EmbeddedPostgres
from storage.migrate import migrate
from tests.vendor_settings import VENDORS, vendor_profiles, vendor_settings

ROOT = Path(__file__).parents[2]
API_KEYS = ("chaos-key-of-anna-00000", "chaos-key-of-ben-000000")

VIDEO_PROFILES = """
[[profiles]]
kind = "vllm-omni"
webhooks = true
hosts = ["127.0.0.1"]
models = ["sandbox-video"]
sizes = ["180x320", "720x1280"]
seconds = [3, 4, 8]
usd_per_second = "0.10"
poll_seconds = 1
lookup_window_seconds = WINDOW
"""

#: The time in which a lost order can appear in a list.
LOOKUP_WINDOW_SECONDS = 12
#: The providers of clips, each with a project of its name.
PROVIDERS = ("videos", *VENDORS)

PROJECT = """---
title: Tiny
summary: One clip of three seconds.
clips: 1
video: {provider: NAME}
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
class Environment:
    """The running services. `api` is a client of the API, which listens on `port` once a process serves it."""

    folder: Path
    postgres: EmbeddedPostgres
    sandbox: httpx.AsyncClient
    api: httpx.AsyncClient
    port: int
    settings: dict[str, str]

    @property
    def drain_file(self) -> Path:
        """Return the path of the file that stops all fault injection."""
        return self.folder / "drain"

    @property
    def is_draining(self) -> bool:
        """Return whether fault injection has ended, so that the open runs can end."""
        return self.drain_file.exists()


@asynccontextmanager
async def open_environment(folder: Path) -> AsyncIterator[Environment]:
    """Start a migrated database and a sandbox with their data in `folder`; stop both after the block."""
    async with AsyncExitStack() as stack:
        postgres = EmbeddedPostgres(folder / "postgres")
        await asyncio.to_thread(postgres.start)
        stack.push_async_callback(asyncio.to_thread, postgres.stop)
        await migrate(postgres.dsn)
        sandbox = await stack.enter_async_context(_run_sandbox(folder / "sandbox"))
        port = free_port()
        timeout = httpx.Timeout(10, connect=2)
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=timeout)
        api = await stack.enter_async_context(client)
        settings = await _write_settings(folder, postgres.dsn, sandbox, port)
        yield Environment(folder, postgres, sandbox, api, port, settings)


@asynccontextmanager
async def _run_sandbox(state: Path) -> AsyncIterator[httpx.AsyncClient]:
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


async def _write_settings(folder: Path, dsn: str, sandbox: httpx.AsyncClient, port: int) -> dict[str, str]:
    """Write projects and video profiles, register the webhook, and return the environment variables."""
    projects, profiles = folder / "projects", folder / "profiles.toml"
    projects.mkdir()
    for provider in PROVIDERS:
        (projects / f"{provider}.md").write_text(PROJECT.replace("NAME", provider))
    own = VIDEO_PROFILES.replace("WINDOW", str(LOOKUP_WINDOW_SECONDS))
    profiles.write_text(own + vendor_profiles(LOOKUP_WINDOW_SECONDS))
    public_url = f"http://127.0.0.1:{port}"
    webhook_url = f"{public_url}/v1/webhooks/sora"
    endpoint = (await sandbox.post("/v1/webhook_endpoints", json={"url": webhook_url})).json()
    secret = (await sandbox.get("/replicate/v1/webhooks/default/secret")).json()["key"]
    url = str(sandbox.base_url).rstrip("/")
    return {
        "DATABASE_URL": dsn,
        "MYLOWARE_DATA_DIR": str(folder / "data"),
        "MYLOWARE_PROJECTS_DIR": str(projects),
        "MYLOWARE_API_KEYS": ",".join(API_KEYS),
        "MYLOWARE_RATE_LIMIT": "1000000",
        "MYLOWARE_DAY_CAP_USD": "10000",
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "sandbox",
        "OPENAI_MODEL": "sandbox-rules",
        "VIDEO_BASE_URL": f"{url}/v1",
        "VIDEO_API_KEY": "sandbox",
        "VIDEO_MODEL": "sandbox-video",
        "VIDEO_PROFILES": str(profiles),
        "VIDEO_WEBHOOK_SECRETS": endpoint["signing_secret"],
        "MYLOWARE_PUBLIC_URL": public_url,
        **{name.upper(): value for name, value in vendor_settings(url, secret).items()},
        "UPLOAD_POST_URL": f"{url}/api",
        "UPLOAD_POST_API_KEY": "sandbox",
    }


def free_port() -> int:
    """Return a loopback port that is not in use."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port
