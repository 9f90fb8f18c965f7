"""The API description at `/docs`: served from here alone, under a strict policy, also without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import httpx
import pytest
from render_service import BROWSERS

from tests.app import App
from tests.openapi import description


def test_everything_is_served_from_here(quiet_app: App) -> None:
    """The page has no inline script or style, loads nothing from elsewhere, and the policy allows nothing else."""
    page = httpx.get(f"{quiet_app.url}/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    urls = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert {name: policy[name] for name in ("default-src", "script-src", "style-src", "connect-src")} == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
    }
    assert "unsafe" not in str(policy)
    assert len(urls) == 4
    for url in urls:
        loaded = page.url.join(url)
        assert str(loaded).startswith(f"{quiet_app.url}/static/")
        assert httpx.get(loaded).status_code == 200
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page.text)
    assert httpx.get(f"{quiet_app.url}/redoc").status_code == 404


@pytest.mark.slow
def test_the_description_is_drawn_without_a_network(quiet_app: App) -> None:
    """A real browser that resolves no name shows every operation, and reports nothing that the policy refused."""
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    assert browser, "This test needs a browser: apt-get install chromium-headless-shell"
    drawn = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=20000"),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *("--dump-dom", f"{quiet_app.url}/docs"),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    console = [line for line in drawn.stderr.splitlines() if "CONSOLE" in line]

    assert console == []
    missing = [path for path in description()["paths"] if f'data-path="{path}"' not in drawn.stdout]
    assert missing == []
