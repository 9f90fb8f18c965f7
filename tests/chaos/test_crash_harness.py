"""The short form of `make chaos`, and that the harness can tell."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from providers.publications.post import id_of
from tests.chaos.harness import Wanted, chaos
from tests.chaos.invariants import Facts, violations


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_nothing_is_lost_or_paid_twice() -> None:
    """Killed at named points a dozen times, every run ends, and nothing is charged or posted twice."""
    wanted = Wanted(kills=12, runs=8, seed=7, minutes=2.5, at_once=5, life=5.0, outages=25.0)
    told: list[str] = []

    report = await chaos(wanted, told.append)

    assert report.broken == [], "\n".join([*told, report.table])
    assert report.freezes + report.outages > 0


RUN = UUID(int=1)
PUBLICATION = {"digest": "0" * 64, "caption": "Rain.", "platforms": ["tiktok"]}


def kept() -> Facts:
    """A run as it should be: one clip, one post, two decisions."""
    clip: dict[str, Any] = {
        "key": f"{RUN}:clip:1:1",
        "run_id": RUN,
        "kind": "clip",
        "request": {"prompt": "Rain (Slate 1-1-1)"},
        "state": "settled",
        "task_id": "video_1",
        "approval": 1,
        "called_at": 1,
        "amount_usd": Decimal("0.3"),
        "spent_usd": Decimal("0.3"),
    }
    post = {"key": f"{RUN}:publication:1:1", "kind": "publication", "request": PUBLICATION, "task_id": "p"}
    free = {"amount_usd": Decimal(0), "spent_usd": Decimal(0)}
    return Facts(
        started=[str(RUN)],
        runs=[{"id": RUN, "status": "completed", "error": None, "current_step": None, "cap_usd": Decimal(5)}],
        orders=[clip, {**clip, **post, **free, "approval": 2}],
        approvals=[
            {"number": 1, "run_id": RUN, "verdict": "approve", "gate": "ideation"},
            {"number": 2, "run_id": RUN, "verdict": "approve", "gate": "publish"},
        ],
        charges=[{"video_id": "video_1", "prompt": "Rain (Slate 1-1-1)", "usd": 0.3}],
        posts=[{"request_id": id_of(PUBLICATION, f"{RUN}:publication:1:1")}],
    )


def with_order(known: Facts, which: int, **changes: Any) -> Facts:
    """The same, but for one order."""
    orders = [{**order, **(changes if at == which else {})} for at, order in enumerate(known.orders)]
    return replace(known, orders=orders)


def with_run(known: Facts, **changes: Any) -> Facts:
    """The same, but for the run."""
    return replace(known, runs=[{**known.runs[0], **changes}])


CLIP, POST = 0, 1
WRONGS = {
    "a run is gone": lambda known: replace(known, runs=[]),
    "a run is stuck": lambda known: with_run(known, status="awaiting_render"),
    "a failure says nothing": lambda known: with_run(known, status="failed", error={}),
    "a run was started twice": lambda known: replace(known, started=[]),
    "a clip was charged twice": lambda known: replace(known, charges=[*known.charges, *known.charges]),
    "a clip was charged twice under two ids": lambda known: replace(
        known, charges=[*known.charges, {**known.charges[0], "video_id": "video_2"}]
    ),
    "a charge belongs to nobody": lambda known: replace(
        known, charges=[*known.charges, {"video_id": "video_2", "prompt": "Sun", "usd": 0.3}]
    ),
    "a charged clip was called not made": lambda known: with_order(known, CLIP, state="failed", task_id=None),
    "a good clip was made again": lambda known: replace(
        known,
        orders=[
            *known.orders,
            {**known.orders[0], "key": f"{RUN}:clip:1:2", "request": {"prompt": "2"}, "task_id": "video_2"},
        ],
        charges=[*known.charges, {"video_id": "video_2", "prompt": "2", "usd": 0.3}],
    ),
    "a film was posted twice": lambda known: replace(known, posts=[*known.posts, *known.posts]),
    "a film was posted by nobody": lambda known: replace(known, posts=[*known.posts, {"request_id": "other"}]),
    "a completed run was not posted": lambda known: replace(known, posts=[]),
    "a clip was not approved": lambda known: with_order(known, CLIP, approval=None),
    "a post was not approved": lambda known: with_order(known, POST, approval=1),
    "another run approved it": lambda known: replace(
        known, approvals=[{**row, "run_id": UUID(int=2)} for row in known.approvals]
    ),
    "the ledger has another price": lambda known: with_order(known, CLIP, spent_usd=Decimal("0.2")),
    "a cap was exceeded": lambda known: with_run(known, cap_usd=Decimal("0.2")),
    "an order was left open": lambda known: with_order(known, CLIP, state="submitted"),
    "a thread forked": lambda known: replace(known, forks=[{"thread_id": str(RUN), "parent_checkpoint_id": "1"}]),
    "the chain is torn": lambda known: replace(known, chain=["Decision 2 is missing."]),
    "two were told they had decided": lambda known: replace(known, answered_twice=["both"]),
}


def test_kept_promises() -> None:
    """Where all is well, nothing is found."""
    assert violations(kept()) == []


@pytest.mark.parametrize("wrong", list(WRONGS))
def test_broken_promise(wrong: str) -> None:
    """Whatever is wrong is found."""
    assert violations(WRONGS[wrong](kept())) != []
