"""Admission of orders: each needs the decision that approved it, and room under every cap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from providers.orders import Order
from storage.database import Connection, fetch_one


@dataclass(frozen=True)
class Caps:
    """The largest amounts to reserve and spend, in USD, in addition to the cap of each run."""

    day_usd: Decimal
    #: By project name, per day.
    project_day_usd: Mapping[str, Decimal] = field(default_factory=dict)


# Serialises reservations, so that the room under a cap is used once.
CAPS_LOCK = "select pg_advisory_xact_lock(hashtextextended('caps', 0))"

# An approval is valid for the approved content only, or for a clip that the decision lists to generate again. No
# comment approves anything.
APPROVED = """
select 1 from decisions
where number = %(decision)s and run_id = %(run_id)s and (
    (verdict = 'approve' and approved_digest = %(digest)s)
    or (verdict = 'revise' and approved_digest = %(digest)s and %(clip)s::int is not null
        and clips @> jsonb_build_array(jsonb_build_object('clip', %(clip)s::int))))
"""

CANCELLED_FIRST = {"code": "cancelled", "message": "The run was cancelled before this was ordered."}
CANCELLED = "select 1 from events where run_id = %s and kind = 'cancel.requested' limit 1"

# Reserved amounts count as spent until they are settled; a failed order counts only if it was charged.
COMMITTED = """
with today as (select date_trunc('day', now() at time zone 'utc') at time zone 'utc' as midnight),
counted as (
    select orders.run_id, orders.created_at, coalesce(spent_usd, amount_usd) as usd, other.project
    from orders left join runs as other on other.id = orders.run_id, today
    where (state <> 'failed' or spent_usd > 0) and (orders.run_id = %(run_id)s or orders.created_at >= midnight))
select run.cap_usd as run_cap, run.project,
       coalesce(sum(usd) filter (where counted.run_id = run.id), 0) as run,
       coalesce(sum(usd) filter (where counted.created_at >= midnight), 0) as day,
       coalesce(sum(usd) filter (where counted.created_at >= midnight and counted.project = run.project), 0)
           as project_day
from today, runs as run left join counted on true
where run.id = %(run_id)s
group by run.id
"""


async def check_admission(conn: Connection, caps: Caps, orders: Sequence[Order]) -> dict[str, str] | None:
    """Return code and message of the reason not to place these orders of one run; None if they are admitted.

    Hold `CAPS_LOCK` until the admitted orders are inserted.
    """
    run_id = orders[0].run_id
    if await is_cancelled(conn, run_id):
        return CANCELLED_FIRST
    for order in orders:
        if order.kind != "render" and not await _is_approved(conn, order):
            return {"code": "not_approved", "message": f"No decision approves this {order.kind}; it is not ordered."}
    total = sum((order.amount_usd for order in orders), Decimal(0))
    row = await fetch_one(conn, COMMITTED, {"run_id": run_id})
    return _check_caps(caps, row, total) if row and total else None


async def _is_approved(conn: Connection, order: Order) -> bool:
    if order.approval is None:
        return False
    return await fetch_one(conn, APPROVED, {**vars(order.approval), "run_id": order.run_id}) is not None


def _check_caps(caps: Caps, row: Mapping[str, Any], total: Decimal) -> dict[str, str] | None:
    project_cap = caps.project_day_usd.get(row["project"])
    for name, committed, cap in (
        ("the run's cap", row["run"], row["run_cap"]),
        (f"the day's cap of project {row['project']} (UTC)", row["project_day"], project_cap),
        ("the day's cap (UTC)", row["day"], caps.day_usd),
    ):
        if cap is not None and committed + total > cap:
            message = (
                f"{total:.2f} USD more would exceed {name} of {cap:.2f} USD: "
                f"{committed:.2f} USD are already spent or reserved."
            )
            return {"code": "budget_exceeded", "message": message}
    return None


async def is_cancelled(conn: Connection, run_id: str) -> bool:
    """Return whether the run was cancelled."""
    return await fetch_one(conn, CANCELLED, (run_id,)) is not None


async def is_budget_exhausted(conn: Connection, run_id: str) -> bool:
    """Return whether the run has spent and reserved all of its cap."""
    row = await fetch_one(conn, COMMITTED, {"run_id": run_id})
    return row is not None and bool(row["run"] >= row["run_cap"])
