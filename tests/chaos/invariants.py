"""What was promised, and whether it was kept: read from the sandbox's own count and from the database."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row

from providers.publications.post import id_of
from storage import decisions
from storage.database import Database, open_pool

Row = Mapping[str, Any]

#: Where a run may be when everybody has gone home: finished, or waiting for a person.
GATES = ("awaiting_ideation_approval", "awaiting_publish_approval")
#: Refusals of our own: the order was never placed.
NOT_PLACED = ("budget_exceeded", "not_approved", "cancelled")

FORKS = """
select thread_id, parent_checkpoint_id, count(*) as children from checkpoints
where parent_checkpoint_id is not null group by thread_id, checkpoint_ns, parent_checkpoint_id having count(*) > 1
union all
select thread_id, null, count(*) from checkpoints
where parent_checkpoint_id is null group by thread_id, checkpoint_ns having count(*) > 1
"""


@dataclass(frozen=True)
class Facts:
    """Everything that can be known after the last run has ended."""

    #: The ids that a start was acknowledged with.
    started: Sequence[str]
    runs: Sequence[Row] = ()
    orders: Sequence[Row] = ()
    approvals: Sequence[Row] = ()
    charges: Sequence[Row] = ()
    posts: Sequence[Row] = ()
    forks: Sequence[Row] = ()
    chain: Sequence[str] = ()
    #: How often one review was answered with a yes under different keys.
    answered_twice: Sequence[str] = ()
    webhooks: Mapping[str, int] = field(default_factory=dict)


async def facts(dsn: str, started: Sequence[str], sandbox: Any, answered_twice: Sequence[str] = ()) -> Facts:
    """The facts; `sandbox` is a client of it."""
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:

        async def rows(query: Any) -> list[dict[str, Any]]:
            return await (await connection.execute(query)).fetchall()

        runs, orders, approvals, forks = [
            await rows(query)
            for query in ("select * from runs", "select * from orders", "select * from decisions", FORKS)
        ]
        told = await rows("select count(*) as n from events where kind = 'webhook.received'")
    async with open_pool(dsn, name="promises") as pool:
        chain = await decisions.verify_chain(Database(pool))
    sent = (await sandbox.get("/sandbox/deliveries")).json()
    return Facts(
        started=started,
        runs=runs,
        orders=orders,
        approvals=approvals,
        charges=(await sandbox.get("/sandbox/charges")).json(),
        posts=(await sandbox.get("/sandbox/posts")).json(),
        forks=forks,
        chain=chain,
        answered_twice=answered_twice,
        webhooks={"sent": len(sent), "events": len({one["webhook_id"] for one in sent}), "told": told[0]["n"]},
    )


def violations(known: Facts) -> list[str]:
    """Every broken promise, a sentence each."""
    return [said for check in CHECKS for said in check(known)]


def lost(known: Facts) -> list[str]:
    """Runs that are gone, or stuck where nobody can do anything."""
    by_id = {str(run["id"]): run for run in known.runs}
    said = [f"run {run_id} was acknowledged and is gone" for run_id in known.started if run_id not in by_id]
    for run_id, run in by_id.items():
        error = run["error"] or {}
        a_person_can_act = run["status"] in GATES and run["review"]
        explained = run["status"] == "failed" and error.get("code") and error.get("message")
        if run["status"] != "completed" and not a_person_can_act and not explained:
            said.append(f"run {run_id} is stuck: {run['status']} at {run['current_step']}")
    return said


def started_twice(known: Facts) -> list[str]:
    """Runs that nobody was told about: one start made two."""
    return [f"run {run['id']} was started by nobody" for run in known.runs if str(run["id"]) not in set(known.started)]


def double_charges(known: Facts) -> list[str]:
    """Charges that are not the one charge of one order."""
    orders = {order["request"].get("prompt"): order for order in known.orders if order["kind"] == "clip"}
    said = [f"{n} charges for one prompt: {prompt!r}" for prompt, n in _counts(known.charges, "prompt") if n > 1]
    for charge in known.charges:
        order = orders.get(charge["prompt"])
        if order is None:
            said.append(f"charge {charge['video_id']} belongs to no order")
        elif order["task_id"] != charge["video_id"]:
            said.append(f"charge {charge['video_id']} of order {order['key']} is not known to it ({order['state']})")
    charged = {charge["video_id"] for charge in known.charges}
    strange = [order for order in orders.values() if order["task_id"] and order["task_id"] not in charged]
    return said + [f"order {order['key']} has a task that was never charged" for order in strange]


def repeated_takes(known: Facts) -> list[str]:
    """Clips made again although the last take was good, and nobody asked for another."""
    made: dict[tuple[Any, ...], int] = defaultdict(int)
    for order in known.orders:
        if order["kind"] == "clip" and order["state"] in ("submitted", "settled", "unknown"):
            _, _, number, _ = order["key"].split(":")
            made[str(order["run_id"]), number, order["approval"]] += 1
    return [
        f"clip {number} of run {run} was made {n} times under approval {approval}"
        for (run, number, approval), n in made.items()
        if n > 1
    ]


def double_posts(known: Facts) -> list[str]:
    """Films that were posted other than once, for a completed run, or at all for one that is not."""
    ids: dict[str, str] = {}
    for order in known.orders:
        if order["kind"] == "publication":
            ids[id_of(order["request"], order["key"])] = str(order["run_id"])
    posted = Counter(ids.get(post["request_id"], "nobody") for post in known.posts)
    said = [f"run {run_id} was posted {n} times" for run_id, n in posted.items() if n > 1]
    said += [f"{posted['nobody']} posts belong to no order"] * (posted["nobody"] > 0)
    completed = [str(run["id"]) for run in known.runs if run["status"] == "completed"]
    return said + [f"run {run_id} is completed and was not posted" for run_id in completed if not posted[run_id]]


def unapproved(known: Facts) -> list[str]:
    """What was ordered without a decision of a person of that run."""
    given = {row["number"]: row for row in known.approvals if row["verdict"] != "reject"}
    said = []
    for order in known.orders:
        placed = order["called_at"] is not None and order["kind"] in ("clip", "publication")
        decision = given.get(order["approval"])
        if placed and (decision is None or decision["run_id"] != order["run_id"]):
            said.append(f"order {order['key']} was placed without an approval")
        gate = {"clip": ("ideation", "publish"), "publication": ("publish",)}.get(order["kind"], ())
        if placed and decision is not None and decision["gate"] not in gate:
            said.append(f"order {order['key']} stands under a decision of the {decision['gate']} gate")
    return said


def wrong_sums(known: Facts) -> list[str]:
    """Money that the ledger and the provider do not agree about, and caps that were exceeded."""
    price = {charge["video_id"]: Decimal(str(charge["usd"])) for charge in known.charges}
    said, spent = [], defaultdict(Decimal)
    for order in known.orders:
        if order["state"] != "failed":
            amount = order["amount_usd"] if order["spent_usd"] is None else order["spent_usd"]
            spent[order["run_id"]] += amount
        if order["kind"] == "clip" and order["state"] == "settled" and order["spent_usd"] != price[order["task_id"]]:
            said.append(f"order {order['key']}: {order['spent_usd']} in the ledger, {price[order['task_id']]} charged")
    caps = {run["id"]: run["cap_usd"] for run in known.runs}
    return said + [f"run {run} has {usd}, over its cap" for run, usd in spent.items() if usd > caps.get(run, usd)]


def unfinished_orders(known: Facts) -> list[str]:
    """Orders of completed runs that are not over."""
    done = {run["id"] for run in known.runs if run["status"] == "completed"}
    return [
        f"order {order['key']} is still {order['state']}"
        for order in known.orders
        if order["run_id"] in done and order["state"] not in ("settled", "failed")
    ]


def forked(known: Facts) -> list[str]:
    """Threads with two histories."""
    return [f"thread {fork['thread_id']} forks at {fork['parent_checkpoint_id']}" for fork in known.forks]


def torn_chain(known: Facts) -> list[str]:
    """Faults of the chain of decisions, and reviews that two people were told they had answered."""
    return [*known.chain, *known.answered_twice]


CHECKS = (
    lost,
    started_twice,
    double_charges,
    repeated_takes,
    double_posts,
    unapproved,
    wrong_sums,
    unfinished_orders,
    forked,
    torn_chain,
)


def _counts(rows: Sequence[Row], name: str) -> list[tuple[str, int]]:
    return list(Counter(row[name] for row in rows).items())
