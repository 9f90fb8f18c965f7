"""LangGraph Studio's server, as `make studio` starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from storage.embedded_postgres import EmbeddedPostgres
from tests.app import SandboxClient, settings_for

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90


@dataclass(frozen=True)
class StudioServer:
    """A running server and the folder of its own database."""

    url: str
    folder: Path

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of an SQL query on Studio's database."""
        dsn = EmbeddedPostgres(self.folder / "postgres").dsn
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[call-overload, no-any-return]


@contextmanager
def run_studio(folder: Path, **settings: str) -> Iterator[str]:
    """Yield the URL of a running server. Its environment contains only `settings`, and no proxy lets it out."""
    if not (ROOT / ".venv-studio/.installed").exists():
        pytest.skip("Studio's own environment is not installed. Run `make studio-setup`.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # No proxy listens there: a request to any other machine fails.
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "127.0.0.1", "PORT": str(port)}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [ROOT / ".ci/studio"],
            cwd=folder,
            stdout=output,
            stderr=output,
            env=environment | proxies | settings,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/ok", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(f"Studio does not answer:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def studio(
    tmp_path_factory: pytest.TempPathFactory, sandbox_process: SandboxClient, postgres_server: str
) -> Iterator[StudioServer]:
    """The server with threads of its own, in an environment that names a database of the product."""
    folder = tmp_path_factory.mktemp("studio")
    settings = settings_for(postgres_server, folder, sandbox_process)
    environment = {
        "DATABASE_URL": postgres_server,
        "MYLOWARE_PROJECTS_DIR": str(settings.projects_dir),
        "VIDEO_PROFILES": str(settings.video_profiles),
        "MYLOWARE_STUDIO_FOLDER": str(folder / "studio"),
        "MYLOWARE_STUDIO_SANDBOX": sandbox_process.url,
    }
    with run_studio(folder, **environment) as url:
        yield StudioServer(url, folder / "studio")
