"""`myloware runs replay`: a run as one page that loads nothing."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import re
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image
from terminals import MYLOWARE, Here, environment

from tests.app import App
from tests.console.seeds import HOSTILE


@pytest.fixture
def here(app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(app, monkeypatch, tmp_path)


def add_take(app: App, run_id: str, take: int, digest: str) -> None:
    """Write a take of clip 1 with this file."""
    app.rows(
        "insert into orders (key, run_id, kind, clip, take, provider, request, amount_usd, state, result, decision)"
        " select %s, %s, 'clip', 1, %s, 'videos', '{}', 0.3, 'settled', %s, min(number) from decisions"
        " where run_id = %s returning key",
        *(f"{run_id}:clip:1:{take}", run_id, take, json.dumps({"digest": digest}), run_id),
    )


@pytest.mark.slow
def test_a_finished_run_is_one_page(app: App, here: Here) -> None:
    """It shows every take, decision and charge, loads nothing, runs nothing and has no secret in it."""
    run_id = app.start(f"Rain on a quiet window {HOSTILE}")
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation", comment=f"Good {HOSTILE}")
    app.until(run_id, "awaiting_publish_approval")
    link = here.run("runs", "link", run_id, "publish", "--url", app.url).strip()
    app.decide(run_id, "publish", comment="All good.")
    run = app.until(run_id, "completed")
    add_take(app, run_id, 2, run["artifacts"]["clip_manifest"]["clips"][0]["digest"])
    page = here.run("runs", "replay", run_id[:8])

    assert re.findall(r"<script|javascript:|@import|url\(", page) == []
    sources = re.findall(r'\s(?:src|href|srcset|action|data|poster)="([^"]*)"', page)
    pictures = [source.removeprefix("data:image/webp;base64,") for source in sources]
    assert len(pictures) == 3
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture, validate=True))).size == (240, 426)
    assert page.count("&lt;script&gt;document.title=") >= 3

    [head] = re.findall(r"head ([0-9a-f]{64})", here.run("audit", "verify"))
    entries = json.loads(here.run("runs", "history", run_id, "--json"))["entries"]
    decisions = [entry["details"] for entry in entries if entry["kind"] == "decision"]
    for text in (
        f"<code>head {head}</code>",
        f"had {len(decisions)} decisions",
        *(f"decision {each['number']}, hash <code>{each['hash']}</code>" for each in decisions),
        "Clip 1: take 1",
        "All good.",
        *(entry["text"] for entry in entries if entry["kind"] in ("charge", "post", "end")),
        f"{run['cost']['spent_usd']:.2f} USD spent, of at most 5.00 USD",
        *(post["url"] for post in run["artifacts"]["publication"]["platforms"].values()),
        run["artifacts"]["final_video"]["digest"],
    ):
        assert text in page, text
    first, second = page.partition('alt="A picture of clip 1, take 1"')[2].split('alt="A picture of clip 1, take 2"')
    assert ("In the film" in first, "In the film" in second) == (True, False)

    for secret in (link, link.rpartition("/")[2], "whsec_"):
        assert secret not in page


def test_a_run_without_files_is_shown(app: App, here: Here) -> None:
    """A run at its first gate, and one whose clip is not in the store any more."""
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    assert "It waits for a decision." in here.run("runs", "replay", run_id)
    add_take(app, run_id, 1, "0" * 64)
    assert "The file is not in the store." in here.run("runs", "replay", run_id)


def test_refusals(app: App, here: Here, tmp_path: Path) -> None:
    """An unknown run and a terminal as the output are one sentence each."""
    unknown = str(uuid4())
    assert here.run("runs", "replay", unknown, status=1) == f"myloware: Run {unknown} not found.\n"
    controller, terminal = pty.openpty()
    try:
        command = [MYLOWARE, "runs", "replay", unknown]
        refused = subprocess.run(
            command, cwd=tmp_path, env=environment(), stdout=terminal, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(terminal)
        os.close(controller)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert refused.stderr.startswith("myloware: The page is for a file: ")
    assert refused.stderr.endswith(f"myloware runs replay {unknown} > run.html\n")
