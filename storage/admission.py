"""Admission of orders: each needs the decision that approved it, and room under every cap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from providers.orders import Order
from storage.database import Connection, fetch_all, fetch_one


@dataclass(frozen=True)
class Caps:
    """The largest amounts to reserve and spend, in USD, in addition to the cap of each run."""

    day_usd: Decimal
    #: By project name, per day.
    project_day_usd: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class CapRoom:
    """A cap, and what is spent or reserved of it, in USD."""

    name: str
    cap_usd: Decimal
    committed_usd: Decimal

    @property
    def left_usd(self) -> Decimal:
        """Return what may still be reserved."""
        return max(self.cap_usd - self.committed_usd, Decimal(0))

    def describe_excess(self, usd: Decimal) -> str:
        """Return the sentence that refuses this amount."""
        return (
            f"{usd:.2f} USD more would exceed {self.name} of {self.cap_usd:.2f} USD: "
            f"{self.committed_usd:.2f} USD are already spent or reserved."
        )


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
    cap = await tightest_cap(conn, caps, run_id)
    if total and total > cap.left_usd:
        return {"code": "budget_exceeded", "message": cap.describe_excess(total)}
    return None


async def _is_approved(conn: Connection, order: Order) -> bool:
    if order.approval is None:
        return False
    return await fetch_one(conn, APPROVED, {**vars(order.approval), "run_id": order.run_id}) is not None


async def tightest_cap(conn: Connection, caps: Caps, run_id: UUID | str) -> CapRoom:
    """Return the cap that leaves this run the least: its own, that of its project's day, or that of the day."""
    [row] = await fetch_all(conn, COMMITTED, {"run_id": run_id})
    rooms = [
        CapRoom("the run's cap", row["run_cap"], row["run"]),
        CapRoom("the day's cap (UTC)", caps.day_usd, row["day"]),
    ]
    if (project_cap := caps.project_day_usd.get(row["project"])) is not None:
        rooms.append(CapRoom(f"the day's cap of project {row['project']} (UTC)", project_cap, row["project_day"]))
    return min(rooms, key=lambda room: room.left_usd)


async def is_cancelled(conn: Connection, run_id: str) -> bool:
    """Return whether the run was cancelled."""
    return await fetch_one(conn, CANCELLED, (run_id,)) is not None


async def is_budget_exhausted(conn: Connection, run_id: str) -> bool:
    """Return whether the run has spent and reserved all of its cap."""
    row = await fetch_one(conn, COMMITTED, {"run_id": run_id})
    return row is not None and bool(row["run"] >= row["run_cap"])
