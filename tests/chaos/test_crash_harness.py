"""The short form of `make chaos`, and the detection of each violation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from providers.publications.post import id_of
from tests.chaos.harness import run_harness
from tests.chaos.invariants import Facts, find_violations
from tests.chaos.options import Options


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_invariants_hold_after_kills() -> None:
    """After a dozen kills at failpoints every run ends, and nothing is charged or posted twice."""
    options = Options(
        kills=12,
        runs=8,
        seed=7,
        max_minutes=5,
        concurrent_runs=5,
        mean_lifetime_seconds=5.0,
        outage_interval_seconds=25.0,
    )
    log: list[str] = []

    report = await run_harness(options, log.append)

    assert report.violations == [], "\n".join([*log, report.text])
    assert report.freezes + report.outages > 0


RUN = UUID(int=1)
PUBLICATION = {"digest": "0" * 64, "caption": "Rain.", "platforms": ["tiktok"]}


def valid_facts() -> Facts:
    """Return the facts of a completed run with one clip, one post and two decisions."""
    clip: dict[str, Any] = {
        "key": f"{RUN}:clip:1:1",
        "run_id": RUN,
        "kind": "clip",
        "request": {"prompt": "Rain (Slate 1-1-1)"},
        "state": "settled",
        "task_id": "video_1",
        "decision": 1,
        "called_at": 1,
        "amount_usd": Decimal("0.3"),
        "spent_usd": Decimal("0.3"),
    }
    post = {"key": f"{RUN}:publication:1:1", "kind": "publication", "request": PUBLICATION, "task_id": "p"}
    free = {"amount_usd": Decimal(0), "spent_usd": Decimal(0)}
    return Facts(
        started=[str(RUN)],
        runs=[{"id": RUN, "status": "completed", "error": None, "current_step": None, "cap_usd": Decimal(5)}],
        orders=[clip, {**clip, **post, **free, "decision": 2}],
        decisions=[
            {"number": 1, "run_id": RUN, "verdict": "approve", "gate": "ideation"},
            {"number": 2, "run_id": RUN, "verdict": "approve", "gate": "publish"},
        ],
        charges=[{"video_id": "video_1", "prompt": "Rain (Slate 1-1-1)", "usd": 0.3}],
        posts=[{"request_id": id_of(PUBLICATION, f"{RUN}:publication:1:1")}],
    )


def with_order(facts: Facts, index: int, **changes: Any) -> Facts:
    """Return the facts with changed columns of one order."""
    orders = [{**order, **(changes if at == index else {})} for at, order in enumerate(facts.orders)]
    return replace(facts, orders=orders)


def with_run(facts: Facts, **changes: Any) -> Facts:
    """Return the facts with changed columns of the run."""
    return replace(facts, runs=[{**facts.runs[0], **changes}])


CLIP, POST = 0, 1
VIOLATIONS: dict[str, Callable[[Facts], Facts]] = {
    "a run is gone": lambda facts: replace(facts, runs=[]),
    "a run is stuck": lambda facts: with_run(facts, status="awaiting_render"),
    "a failure has no reason": lambda facts: with_run(facts, status="failed", error={}),
    "a run was started twice": lambda facts: replace(facts, started=[]),
    "a clip was charged twice": lambda facts: replace(facts, charges=[*facts.charges, *facts.charges]),
    "a clip was charged twice under two ids": lambda facts: replace(
        facts, charges=[*facts.charges, {**facts.charges[0], "video_id": "video_2"}]
    ),
    "a charge has no order": lambda facts: replace(
        facts, charges=[*facts.charges, {"video_id": "video_2", "prompt": "Sun", "usd": 0.3}]
    ),
    "a charged clip is recorded as failed": lambda facts: with_order(facts, CLIP, state="failed", task_id=None),
    "a settled clip was generated again": lambda facts: replace(
        facts,
        orders=[
            *facts.orders,
            {**facts.orders[0], "key": f"{RUN}:clip:1:2", "request": {"prompt": "2"}, "task_id": "video_2"},
        ],
        charges=[*facts.charges, {"video_id": "video_2", "prompt": "2", "usd": 0.3}],
    ),
    "a film was posted twice": lambda facts: replace(facts, posts=[*facts.posts, *facts.posts]),
    "a post has no order": lambda facts: replace(facts, posts=[*facts.posts, {"request_id": "other"}]),
    "a completed run was not posted": lambda facts: replace(facts, posts=[]),
    "a clip was not approved": lambda facts: with_order(facts, CLIP, decision=None),
    "a post was not approved": lambda facts: with_order(facts, POST, decision=1),
    "the approval belongs to another run": lambda facts: replace(
        facts, decisions=[{**row, "run_id": UUID(int=2)} for row in facts.decisions]
    ),
    "the ledger has another price": lambda facts: with_order(facts, CLIP, spent_usd=Decimal("0.2")),
    "a cap was exceeded": lambda facts: with_run(facts, cap_usd=Decimal("0.2")),
    "an order was left open": lambda facts: with_order(facts, CLIP, state="submitted"),
    "a thread forked": lambda facts: replace(facts, forks=[{"thread_id": str(RUN), "parent_checkpoint_id": "1"}]),
    "the hash chain is broken": lambda facts: replace(facts, chain_errors=["Decision 2 is missing."]),
    "two decisions were acknowledged": lambda facts: replace(facts, duplicate_decisions=["both"]),
}


def test_valid_facts_have_no_violation() -> None:
    """Valid facts violate no invariant."""
    assert find_violations(valid_facts()) == []


@pytest.mark.parametrize("violation", list(VIOLATIONS))
def test_violation_is_found(violation: str) -> None:
    """Each violation is found."""
    assert find_violations(VIOLATIONS[violation](valid_facts())) != []
