"""Whether an order may be placed: somebody approved exactly this, and there is room under every cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from providers.orders import Order
from storage.database import Connection


@dataclass(frozen=True)
class Caps:
    """What may be reserved and spent at most, in USD, beside the cap that each run has of its own."""

    day_usd: Decimal
    #: For a project, by name, on one day.
    project_day_usd: Mapping[str, Decimal] = field(default_factory=dict)


# One reservation at a time: what is free under a cap cannot be promised twice.
CAPS_LOCK = "select pg_advisory_xact_lock(hashtextextended('caps', 0))"

# An approval counts for exactly what it was given for: what was approved, or the clip asked to be made again,
# by its number in the list or in the words of the comment.
APPROVED = r"""
select 1 from decisions
where number = %(decision)s and run_id = %(run_id)s and (
    (verdict = 'approve' and approved_digest = %(digest)s)
    or (verdict = 'revise' and approved_digest = %(digest)s and %(clip)s::int is not null
        and (clips @> jsonb_build_array(jsonb_build_object('clip', %(clip)s::int))
             or comment ~ concat('\m', %(clip)s::int, '\M'))))
"""

CANCELLED_FIRST = {"code": "cancelled", "message": "The run was cancelled before this was ordered."}
CANCELLED = "select 1 from events where run_id = %s and kind = 'cancel.requested' limit 1"

# What is reserved and not settled counts as spent; what failed was given back, unless it was charged for.
COMMITTED = """
with today as (select date_trunc('day', now() at time zone 'utc') at time zone 'utc' as began),
counted as (
    select orders.run_id, orders.created_at, coalesce(spent_usd, amount_usd) as usd, other.project
    from orders left join runs as other on other.id = orders.run_id, today
    where (state <> 'failed' or spent_usd > 0) and (orders.run_id = %(run_id)s or orders.created_at >= began))
select run.cap_usd as run_cap, run.project,
       coalesce(sum(usd) filter (where counted.run_id = run.id), 0) as run,
       coalesce(sum(usd) filter (where counted.created_at >= began), 0) as day,
       coalesce(sum(usd) filter (where counted.created_at >= began and counted.project = run.project), 0)
           as project_day
from today, runs as run left join counted on true
where run.id = %(run_id)s
group by run.id
"""


async def check_admission(conn: Connection, caps: Caps, orders: Sequence[Order]) -> dict[str, str] | None:
    """Why these orders of one run must not be placed, as a code and a sentence; None if they may.

    Hold `CAPS_LOCK` until what is admitted is written down.
    """
    run_id = orders[0].run_id
    if await (await conn.execute(CANCELLED, (run_id,))).fetchone():
        return CANCELLED_FIRST
    for order in orders:
        approval = order.approval and {**vars(order.approval), "run_id": run_id}
        approved = approval and await (await conn.execute(APPROVED, approval)).fetchone()
        if order.kind != "render" and not approved:
            return {"code": "not_approved", "message": f"Nobody approved this {order.kind}, so it is not ordered."}
    total = sum((order.amount_usd for order in orders), Decimal(0))
    row = await (await conn.execute(COMMITTED, {"run_id": run_id})).fetchone()
    if row is None or not total:
        return None
    of_project = caps.project_day_usd.get(row["project"])
    for name, committed, cap in (
        ("the run's cap", row["run"], row["run_cap"]),
        (f"the day's cap of the project {row['project']} (UTC)", row["project_day"], of_project),
        ("the day's cap (UTC)", row["day"], caps.day_usd),
    ):
        if cap is not None and committed + total > cap:
            message = (
                f"{total:.2f} USD more would exceed {name} of {cap:.2f} USD: "
                f"{committed:.2f} USD are spent or promised already."
            )
            return {"code": "budget_exceeded", "message": message}
    return None


async def is_cancelled(conn: Connection, run_id: str) -> bool:
    """Whether a person cancelled the run."""
    return await (await conn.execute(CANCELLED, (run_id,))).fetchone() is not None


async def is_budget_exhausted(conn: Connection, run_id: str) -> bool:
    """Whether a run has spent and promised all of its cap."""
    row = await (await conn.execute(COMMITTED, {"run_id": run_id})).fetchone()
    return row is not None and bool(row["run"] >= row["run_cap"])
