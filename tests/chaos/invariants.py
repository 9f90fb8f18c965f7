"""Invariants of all runs, checked against the database and against what the sandbox charged, posted and delivered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from providers.orders import OrderKey
from providers.publications.post import id_of
from storage.database import Database, open_pool
from storage.decision_chain import verify_chain
from tests.chaos.actors import Actors

Row = Mapping[str, Any]

#: Statuses in which a run waits for a decision.
REVIEW_STATUSES = ("awaiting_ideation_approval", "awaiting_publish_approval")
#: Gates at which an order of a kind can be approved.
APPROVAL_GATES = {"clip": ("ideation", "publish"), "publication": ("publish",)}

#: Checkpoints with more than one child, and threads with more than one root.
FORKS = """
select thread_id, parent_checkpoint_id, count(*) as children from checkpoints
where parent_checkpoint_id is not null group by thread_id, checkpoint_ns, parent_checkpoint_id having count(*) > 1
union all
select thread_id, null, count(*) from checkpoints
where parent_checkpoint_id is null group by thread_id, checkpoint_ns having count(*) > 1
"""


@dataclass(frozen=True)
class Facts:
    """Rows of the database and records of the sandbox after the last run has ended.

    Attributes:
        started: Ids of the runs whose start was acknowledged.
        runs: Rows of `runs`.
        orders: Rows of `orders`.
        decisions: Rows of `decisions`.
        charges: Charges of the sandbox.
        posts: Posts of the sandbox.
        forks: Rows of `FORKS`.
        chain_errors: Faults in the hash chain of the decisions.
        duplicate_decisions: Reviews for which decisions were acknowledged under several idempotency keys.
        webhooks: Numbers of webhooks: `sent` by the sandbox, `recorded` in the database.
    """

    started: Sequence[str]
    runs: Sequence[Row] = ()
    orders: Sequence[Row] = ()
    decisions: Sequence[Row] = ()
    charges: Sequence[Row] = ()
    posts: Sequence[Row] = ()
    forks: Sequence[Row] = ()
    chain_errors: Sequence[str] = ()
    duplicate_decisions: Sequence[str] = ()
    webhooks: Mapping[str, int] = field(default_factory=dict)


async def read_facts(dsn: str, sandbox: httpx.AsyncClient, actors: Actors) -> Facts:
    """Return the facts of a database, a sandbox and the actors."""
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:

        async def fetch_all(query: Any) -> list[dict[str, Any]]:
            return await (await connection.execute(query)).fetchall()

        runs, orders, decision_rows, forks, webhooks = [
            await fetch_all(query)
            for query in (
                "select * from runs",
                "select * from orders",
                "select * from decisions",
                FORKS,
                "select 1 from events where kind = 'webhook.received'",
            )
        ]
    async with open_pool(dsn, name="invariants") as pool:
        chain_errors = await verify_chain(Database(pool))
    return Facts(
        started=actors.started,
        runs=runs,
        orders=orders,
        decisions=decision_rows,
        charges=(await sandbox.get("/sandbox/charges")).json(),
        posts=(await sandbox.get("/sandbox/posts")).json(),
        forks=forks,
        chain_errors=chain_errors,
        duplicate_decisions=actors.duplicate_decisions,
        webhooks={"sent": len((await sandbox.get("/sandbox/deliveries")).json()), "recorded": len(webhooks)},
    )


def find_violations(facts: Facts) -> list[str]:
    """Return one sentence for each violated invariant; empty if all hold."""
    return [violation for check in CHECKS for violation in check(facts)]


def lost_runs(facts: Facts) -> list[str]:
    """Find acknowledged runs that are gone, and runs that neither ended, failed with a reason nor wait for a review."""
    by_id = {str(run["id"]): run for run in facts.runs}
    found = [f"run {run_id} was acknowledged and is gone" for run_id in facts.started if run_id not in by_id]
    for run_id, run in by_id.items():
        error = run["error"] or {}
        awaits_decision = run["status"] in REVIEW_STATUSES and run["review"]
        has_reason = run["status"] == "failed" and error.get("code") and error.get("message")
        if run["status"] != "completed" and not awaits_decision and not has_reason:
            found.append(f"run {run_id} is stuck: {run['status']} at {run['current_step']}")
    return found


def unacknowledged_runs(facts: Facts) -> list[str]:
    """Find runs whose start was not acknowledged: one start request created two runs."""
    started = set(facts.started)
    return [f"the start of run {run['id']} was not acknowledged" for run in facts.runs if str(run["id"]) not in started]


def duplicate_charges(facts: Facts) -> list[str]:
    """Find charges that are not the only charge of exactly one order, and orders with an uncharged task."""
    orders = {order["request"].get("prompt"): order for order in facts.orders if order["kind"] == "clip"}
    prompts = Counter(charge["prompt"] for charge in facts.charges)
    found = [f"{count} charges for one prompt: {prompt!r}" for prompt, count in prompts.items() if count > 1]
    for charge in facts.charges:
        order = orders.get(charge["prompt"])
        if order is None:
            found.append(f"charge {charge['video_id']} belongs to no order")
        elif order["task_id"] != charge["video_id"]:
            found.append(f"charge {charge['video_id']} is missing from order {order['key']} ({order['state']})")
    charged = {charge["video_id"] for charge in facts.charges}
    uncharged = [order for order in orders.values() if order["task_id"] and order["task_id"] not in charged]
    return found + [f"order {order['key']} has a task that was not charged" for order in uncharged]


def repeated_takes(facts: Facts) -> list[str]:
    """Find clips generated more than once under one decision although the earlier take had not failed."""
    takes: dict[tuple[str, int, Any], int] = defaultdict(int)
    for order in facts.orders:
        if order["kind"] == "clip" and order["state"] in ("submitted", "settled", "unknown"):
            takes[str(order["run_id"]), OrderKey.parse(order["key"]).number, order["decision"]] += 1
    return [
        f"clip {number} of run {run_id} was generated {count} times under decision {decision}"
        for (run_id, number, decision), count in takes.items()
        if count > 1
    ]


def duplicate_posts(facts: Facts) -> list[str]:
    """Find posts without an order, films posted more than once, and completed runs without a post."""
    run_ids: dict[str, str] = {}
    for order in facts.orders:
        if order["kind"] == "publication":
            run_ids[id_of(order["request"], order["key"])] = str(order["run_id"])
    posts = Counter(run_ids.get(post["request_id"]) for post in facts.posts)
    unknown = posts.pop(None, 0)
    found = [f"run {run_id} was posted {count} times" for run_id, count in posts.items() if count > 1]
    found += [f"{unknown} posts belong to no order"] * (unknown > 0)
    completed = [str(run["id"]) for run in facts.runs if run["status"] == "completed"]
    return found + [f"run {run_id} is completed and was not posted" for run_id in completed if not posts[run_id]]


def unapproved_orders(facts: Facts) -> list[str]:
    """Find clips and publications ordered without a decision of their run, or under one of the wrong gate."""
    permitting = {row["number"]: row for row in facts.decisions if row["verdict"] != "reject"}
    found = []
    for order in facts.orders:
        if order["called_at"] is None or order["kind"] not in APPROVAL_GATES:
            continue
        decision = permitting.get(order["decision"])
        if decision is None or decision["run_id"] != order["run_id"]:
            found.append(f"order {order['key']} was placed without an approval")
        if decision is not None and decision["gate"] not in APPROVAL_GATES[order["kind"]]:
            found.append(f"order {order['key']} was placed under a decision of the {decision['gate']} gate")
    return found


def wrong_amounts(facts: Facts) -> list[str]:
    """Find clips whose cost differs between ledger and sandbox, and runs whose costs exceed their cap."""
    prices = {charge["video_id"]: Decimal(str(charge["usd"])) for charge in facts.charges}
    found: list[str] = []
    costs: dict[Any, Decimal] = defaultdict(Decimal)
    for order in facts.orders:
        spent = order["spent_usd"]
        if order["state"] != "failed":
            costs[order["run_id"]] += order["amount_usd"] if spent is None else spent
        if order["kind"] == "clip" and order["state"] == "settled" and spent != prices[order["task_id"]]:
            found.append(f"order {order['key']}: {spent} in the ledger, {prices[order['task_id']]} charged")
    caps = {run["id"]: run["cap_usd"] for run in facts.runs}
    return found + [
        f"run {run_id} has {usd}, over its cap" for run_id, usd in costs.items() if usd > caps.get(run_id, usd)
    ]


def unfinished_orders(facts: Facts) -> list[str]:
    """Find orders of completed runs that are neither settled nor failed."""
    completed = {run["id"] for run in facts.runs if run["status"] == "completed"}
    return [
        f"order {order['key']} is still {order['state']}"
        for order in facts.orders
        if order["run_id"] in completed and order["state"] not in ("settled", "failed")
    ]


def forked_threads(facts: Facts) -> list[str]:
    """Find threads with two histories."""
    return [f"thread {fork['thread_id']} forks at {fork['parent_checkpoint_id']}" for fork in facts.forks]


def inconsistent_decisions(facts: Facts) -> list[str]:
    """Find faults in the hash chain, and reviews for which several decisions were acknowledged."""
    return [*facts.chain_errors, *facts.duplicate_decisions]


CHECKS = (
    lost_runs,
    unacknowledged_runs,
    duplicate_charges,
    repeated_takes,
    duplicate_posts,
    unapproved_orders,
    wrong_amounts,
    unfinished_orders,
    forked_threads,
    inconsistent_decisions,
)
