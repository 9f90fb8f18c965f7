"""LangGraph Studio's server, as `make studio` starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.app import SandboxClient, app, migrated_template, postgres_server, sandbox, sandbox_process

__all__ = ["app", "migrated_template", "postgres_server", "sandbox", "sandbox_process"]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[str]:
    """The address of a server that answers, with no key and no address of anybody else in its environment."""
    if not (ROOT / ".venv-studio/.installed").exists():
        pytest.skip("Studio has an environment of its own, and it is not installed: run `make studio-setup`.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A proxy where nobody is: whoever would speak with the world outside fails.
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "127.0.0.1", "PORT": str(port)}
    log = folder / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [ROOT / ".ci/studio"],
            cwd=folder,
            stdout=said,
            stderr=said,
            env=environment | nowhere | settings,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _await(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/ok", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(f"Studio does not answer:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory, sandbox_process: SandboxClient) -> Iterator[str]:
    """The server with threads of its own, and a sandbox that can be asked what it was paid for."""
    with serving(tmp_path_factory.mktemp("studio"), MYLOWARE_STUDIO_SANDBOX=sandbox_process.url) as url:
        yield url
