"""Admission of orders: each needs the decision that approved it, and room under every cap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from providers.orders import Order
from storage.database import Connection, fetch_one, read_statements
from storage.orders import OrderRow
from storage.spending import committed


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


#: The share of the day's cap that model calls before any approval may take together: of new runs and of the chat.
UNAPPROVED_SHARE = Decimal("0.25")
SHARE_NAME = "the share of the day's cap (UTC) for new runs and the chat"

sql = read_statements("admission")


CANCELLED_FIRST = {"code": "cancelled", "message": "The run was cancelled before this was ordered."}


async def check_admission(conn: Connection, caps: Caps, orders: Sequence[Order]) -> dict[str, str] | None:
    """Return code and message of the reason not to place these orders of one run; None if they are admitted.

    Call `lock_spending` before, and insert the admitted orders in the same transaction.
    """
    run_id = orders[0].run_id
    if await is_cancelled(conn, run_id):
        return CANCELLED_FIRST
    for order in orders:
        if order.kind != "render" and not await _is_approved(conn, order):
            return {"code": "not_approved", "message": f"No decision approves this {order.kind}; it is not ordered."}
    total = sum((order.amount_usd for order in orders), Decimal(0))
    if total and total > (cap := await tightest_cap(conn, caps, run_id)).left_usd:
        return {"code": "budget_exceeded", "message": cap.describe_excess(total)}
    return None


async def check_replay(conn: Connection, caps: Caps, order: OrderRow) -> dict[str, str] | None:
    """Return code and message of the reason not to submit this order again; None if it is admitted.

    The order has a reservation, which is counted once. Call `lock_spending` before, and mark it as
    submitted again in the same transaction.
    """
    run_id = str(order.run_id)
    if await is_cancelled(conn, run_id):
        return CANCELLED_FIRST
    if order.kind != "render" and not await fetch_one(conn, sql["still_approved"], {"key": order.key}):
        return {"code": "not_approved", "message": f"No decision approves this {order.kind}; it is not ordered."}
    if order.amount_usd and (cap := await tightest_cap(conn, caps, run_id)).committed_usd > cap.cap_usd:
        return {"code": "budget_exceeded", "message": cap.describe_excess(Decimal(0))}
    return None


async def _is_approved(conn: Connection, order: Order) -> bool:
    if order.approval is None:
        return False
    return await fetch_one(conn, sql["approved"], {**vars(order.approval), "run_id": order.run_id}) is not None


async def tightest_cap(conn: Connection, caps: Caps, run_id: UUID | str | None, *, unapproved: bool = False) -> CapRoom:
    """Return the cap that leaves the least: that of the run, of its project's day, or of the day.

    For a model call that no approval precedes it may also be the share of the day's cap for these; without a run,
    that of the chat, only the caps of the day count.
    """
    usd, rooms = await committed(conn, run_id), list[CapRoom]()
    if run := await fetch_one(conn, "select cap_usd, project from runs where id = %s", (run_id,)):
        rooms.append(CapRoom("the run's cap", run["cap_usd"], usd["run"]))
        if (project_cap := caps.project_day_usd.get(run["project"])) is not None:
            rooms.append(CapRoom(f"the day's cap of project {run['project']} (UTC)", project_cap, usd["project"]))
    rooms.append(CapRoom("the day's cap (UTC)", caps.day_usd, usd["day"]))
    if unapproved:
        rooms.append(CapRoom(SHARE_NAME, caps.day_usd * UNAPPROVED_SHARE, usd["unapproved"]))
    return min(rooms, key=lambda room: room.cap_usd - room.committed_usd)


async def is_cancelled(conn: Connection, run_id: str) -> bool:
    """Return whether the run was cancelled."""
    return await fetch_one(conn, sql["cancelled"], (run_id,)) is not None


async def has_approval(conn: Connection, run_id: str) -> bool:
    """Return whether anything of the run was approved."""
    return await fetch_one(conn, sql["has_approval"], (run_id,)) is not None
