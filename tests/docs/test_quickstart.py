"""The slow shell blocks work as written: the quickstart and the README, against a server started by `make serve`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from shell_blocks import shell_blocks

from tests.app import one_clip_shorts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
#: A person's settings, and those of a surrounding `make`, do not reach the server.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
START_SECONDS = 60


@contextmanager
def running_server(command: str, folder: Path, **settings: str) -> Iterator[str]:
    """Run the command that starts the server, from the root of the repository; yield the URL of the API."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {**ENVIRONMENT, "PORT": str(port), "MYLOWARE_DATA_DIR": str(folder / "data"), **settings}
    log = folder / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with server:
        try:
            _wait_until_healthy(url, server, log)
            yield url
        finally:
            # Make and the server are a process group of their own.
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"The server did not start: {log.read_text()}")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the quickstart needs curl")
@pytest.mark.skipif((ROOT / ".env").exists(), reason="the server would read .env, which may name real providers")
@pytest.mark.timeout(400)
def test_quickstart(tmp_path: Path) -> None:
    """All blocks in one shell produce a film and complete the run."""
    serve, *blocks = [block.text for block in shell_blocks("slow", "docs/tutorials/quickstart.md")]
    with running_server(serve, tmp_path, **one_clip_shorts(tmp_path / "projects")) as url:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
            cwd=tmp_path,
            env={**ENVIRONMENT, "api": url, "NO_PROXY": "127.0.0.1"},
            timeout=300,
            capture_output=True,
            text=True,
        )

    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r'"status": *"completed"', result.stdout)
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the chat needs curl")
@pytest.mark.skipif((ROOT / ".env").exists(), reason="the server would read .env, which may name real providers")
@pytest.mark.timeout(600)
def test_readme(tmp_path: Path) -> None:
    """The demo makes a film, and the supervisor answers; only the port is another one."""
    demo, serve, chat = [block.text for block in shell_blocks("slow", "README.md")]
    environment = {**ENVIRONMENT, "MYLOWARE_DATA_DIR": str(tmp_path)}
    made = subprocess.run(["bash", "-c", demo], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert made.returncode == 0, made.stdout + made.stderr
    assert Path(made.stdout.strip().splitlines()[-1]).read_bytes()[4:8] == b"ftyp"

    with running_server(serve, tmp_path) as url:
        request = chat.replace("http://127.0.0.1:8000", url)
        answered = subprocess.run(["bash", "-c", request], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert '"session_id"' in answered.stdout, answered.stdout + answered.stderr
