"""The transcript of the README, run as it stands against a server as `make serve` starts it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KEY = "let-me-in"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the transcript needs curl")
@pytest.mark.timeout(300)
def test_transcript(tmp_path: Path) -> None:
    """By curl: a brief, two approvals, and the film."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    myloware = Path(sys.executable).parent / "myloware"
    server = subprocess.Popen(
        [myloware, "serve", "--port", "0"],
        cwd=tmp_path,
        env={**environment, "MYLOWARE_API_KEYS": KEY, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            assert server.stdout is not None
            said = next(line for line in server.stdout if "answers at" in line)
            api = said.split("answers at ")[1].split()[0]
            done = subprocess.run(
                ["bash", "-euo", "pipefail", ROOT / "docs/first-run.sh"],
                cwd=tmp_path,
                env={**environment, "api": api, "key": KEY, "NO_PROXY": "127.0.0.1"},
                timeout=250,
                capture_output=True,
                text=True,
            )
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"status":"completed"' in done.stdout.splitlines()[-1].replace(": ", ":")
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
