"""`make demo KILL=1`: the process is killed twice, and the ledger and the vendor's own counts agree."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from terminals import environment, processes_of

from bench.kill_demo import Charge, VendorCounts, find_differences
from storage.orders import OrderRow
from tests.app import TINY_PROJECT

ROOT = Path(__file__).parents[2]
CENTS_40 = Decimal("0.40")


def order(kind: str, number: int = 1) -> OrderRow:
    """Return a settled order."""
    return OrderRow(
        key=f"run:{kind}:{number}:1",
        kind=kind,
        state="settled",
        amount_usd=CENTS_40,
        created_at=datetime.now(UTC),
        task_id=f"{kind}-{number}",
        request={"prompt": f"Rain {number}"},
        run_id=uuid4(),
        clip=number if kind == "clip" else None,
        take=1,
        provider="videos",
        spent_usd=CENTS_40 if kind == "clip" else Decimal(0),
        decision=1,
        called_at=None,
        lookup_since=None,
        released_at=None,
        submitted_at=None,
        progress=None,
        missing_since=None,
        file_missing_since=None,
        poll_count=0,
        next_poll_at=None,
        unapproved=False,
    )


ORDERS = [order("clip", 1), order("clip", 2), order("render"), order("publication")]
CHARGES = [Charge(prompt=f"Rain {number}", usd=CENTS_40) for number in (1, 2)]
POSTS = ["publication-1"]


def test_equal_counts_do_not_differ() -> None:
    """One charge for each clip of the ledger, and one post."""
    assert find_differences(ORDERS, VendorCounts(CHARGES, POSTS)) == []


@pytest.mark.parametrize(
    ("orders", "charges", "posts", "found"),
    [
        (ORDERS, [*CHARGES, CHARGES[0]], POSTS, "clip 1: 0.40 USD in the ledger, charged 2×, 0.80 USD"),
        (ORDERS, CHARGES[1:], POSTS, "clip 1: 0.40 USD in the ledger, charged 0×, 0.00 USD"),
        (
            ORDERS,
            [*CHARGES, Charge(prompt="x", usd=1)],
            POSTS,
            "3 charges, 2 of them of this run, instead of 2",
        ),
        (ORDERS, CHARGES, [*POSTS, POSTS[0]], "2 posts, 2 of them of this run"),
        (ORDERS, CHARGES, [*POSTS, "x"], "2 posts, 1 of them of this run"),
        (ORDERS, CHARGES, [], "0 posts"),
        ([replace(ORDERS[0], state="unknown"), *ORDERS[1:]], CHARGES, POSTS, "clip 1 is unknown in the ledger"),
    ],
    ids=["charged twice", "not charged", "other charge", "posted twice", "other post", "not posted", "unknown"],
)
def test_other_counts_differ(orders: list[OrderRow], charges: list[Charge], posts: list[str], found: str) -> None:
    """Everything but one charge and one post is named."""
    assert found in "; ".join(find_differences(orders, VendorCounts(charges, posts)))


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The settings of a demo with a project that is quick to make."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "tiny.md").write_text(TINY_PROJECT.replace("180x320", "720x1280"))
    return {"MYLOWARE_PROJECTS_DIR": str(tmp_path / "projects"), "MYLOWARE_DATA_DIR": str(tmp_path / "data")}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_demo_charges_once_and_posts_once(settings: dict[str, str], tmp_path: Path) -> None:
    """It says when it is killed, and ends with the counts and the film."""
    made = subprocess.run(
        ["make", "demo", "KILL=1", "BRIEF=--a calm sea, 'at night'", "PROJECT=tiny"],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=350,
        check=False,
    )
    printed = " ".join(made.stderr.split())

    assert made.returncode == 0, made.stderr
    assert re.search(r"Killed \(SIGKILL\) just after the vendor accepted clip \d.*, before", printed)
    assert "Killed (SIGKILL) just after the publisher accepted the film, before" in printed
    assert ("charged 1×, 0" in printed, "posted 1×" in printed) == (True, True)
    assert re.search(r"charged once, posted once Next: make serve\b", printed)
    assert Path(made.stdout.strip()).read_bytes()[4:8] == b"ftyp"
    assert processes_of(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_stops_all_processes(settings: dict[str, str], tmp_path: Path) -> None:
    """The signal of a terminal reaches the whole group; none of it is left, and nothing is restarted."""
    command = [sys.executable, "-m", "bench.kill_demo", "Rain", "--project", "tiny"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(**settings), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        assert demo.stderr is not None
        while "Starting again" not in (line := demo.stderr.readline()):
            assert line
        os.killpg(demo.pid, signal.SIGINT)
        rest = demo.communicate(timeout=100)[1]

    assert (demo.returncode, "charged once" in rest) == (130, False)
    assert processes_of(tmp_path) == []
