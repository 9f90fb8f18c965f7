"""The rows of orders: how they stand, and when to look after them again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

from providers.orders import OrderStatus
from storage.database import Database
from storage.events import record_event


class OrderRow(TypedDict):
    """A row of `orders`."""

    key: str
    run_id: UUID | None
    kind: str
    provider: str
    request: dict[str, Any]
    amount_usd: Decimal
    spent_usd: Decimal | None
    state: str
    approval: int | None
    called_at: datetime | None
    task_id: str | None
    submitted_at: datetime | None
    settled_at: datetime | None
    result: dict[str, Any] | None
    progress: float | None
    missing_since: datetime | None
    looks: int
    next_look_at: datetime | None
    created_at: datetime


class Orders:
    """The orders, to be read and looked after. Nothing here spends."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def reschedule_poll(self, key: str, after: timedelta, progress: float | None = None) -> None:
        """Put off the next look at an order, and keep how far it is (0..1)."""
        async with self.db.transaction() as conn:
            cursor = await conn.execute(
                "update orders set looks = looks + 1, next_look_at = now() + %s, progress = coalesce(%s, progress)"
                " where key = %s and settled_at is null returning run_id, kind",
                (after, progress, key),
            )
            row = await cursor.fetchone()
            if row and progress is not None:
                said = {"kind": row["kind"], "progress": round(progress, 2)}
                await record_event(
                    conn,
                    source="ledger",
                    kind="order.progress",
                    run_id=row["run_id"],
                    subject=key,
                    payload=said,
                )

    async def mark_not_found(self, key: str) -> None:
        """The provider does not know this order, as far as it says now."""
        await self.db.execute("update orders set missing_since = coalesce(missing_since, now()) where key = %s", (key,))

    async def mark_found(self, key: str) -> None:
        """The provider knows this order, and is at it: if its outcome was unknown, it is not any more."""
        await self.db.execute(
            "update orders set missing_since = null, state = case state when 'unknown' then 'submitted' else state end"
            " where key = %s and task_id is not null and settled_at is null",
            (key,),
        )

    async def find_key(self, provider: str, task_id: str) -> str | None:
        """The key of the order that this provider knows by `task_id`."""
        row = await self.db.fetch_one(
            "select key from orders where provider = %s and task_id = %s", (provider, task_id)
        )
        return str(row["key"]) if row else None

    async def poll_now(self, key: str) -> None:
        """Make an order that is not over due for a look."""
        await self.db.execute("update orders set next_look_at = now() where key = %s and settled_at is null", (key,))

    async def get(self, key: str) -> OrderRow | None:
        """The order of this key."""
        row = await self.db.fetch_one("select * from orders where key = %s", (key,))
        return OrderRow(**row) if row else None  # type: ignore[typeddict-item]  # the columns are its keys

    async def unbound(self, provider: str, task_ids: Sequence[str]) -> list[str]:
        """Those of the provider's ids that no order has, in their order."""
        rows = await self.db.fetch_all(
            "select task_id from orders where provider = %s and task_id = any(%s)", (provider, list(task_ids))
        )
        bound = {row["task_id"] for row in rows}
        return [task_id for task_id in task_ids if task_id not in bound]

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        """How these orders stand, by key. See `graph.ports.Ledger`."""
        rows = await self.db.fetch_all(
            "select key, kind, state, amount_usd, task_id, result, settled_at from orders where key = any(%s)",
            (list(keys),),
        )
        return {row["key"]: OrderStatus(**{**row, "result": row["result"] or {}}) for row in rows}

    async def list_for_run(self, run_id: UUID | str) -> list[OrderRow]:
        """Every order of a run, oldest first."""
        rows = await self.db.fetch_all("select * from orders where run_id = %s order by created_at, key", (run_id,))
        return [OrderRow(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys

    async def claim_due(self, *, limit: int = 100, put_off: timedelta = timedelta(seconds=5)) -> list[str]:
        """The keys of orders that should be looked at now."""
        rows = await self.db.fetch_all(
            "update orders set next_look_at = now() + %s where key in (select key from orders"
            " where next_look_at <= now() and kind <> 'model' order by next_look_at limit %s for update skip locked)"
            " returning key",
            (put_off, limit),
        )
        return [str(row["key"]) for row in rows]
