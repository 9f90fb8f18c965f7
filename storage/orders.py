"""Orders: their states and costs, and when to poll them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.sql import SQL

from providers.orders import OrderKey, OrderStatus
from storage.database import Database, fetch_all, read_statements
from storage.events import event_values, record_event, with_event

sql = read_statements("orders")


@dataclass(frozen=True, kw_only=True)
class OrderRow(OrderStatus):
    """A row of `orders`. `clip` and `take` are set for orders of clips; `progress` is 0..1."""

    run_id: UUID | None
    clip: int | None
    take: int | None
    provider: str
    spent_usd: Decimal | None
    decision: int | None
    called_at: datetime | None
    lookup_since: datetime | None
    released_at: datetime | None
    submitted_at: datetime | None
    progress: float | None
    missing_since: datetime | None
    file_missing_since: datetime | None
    poll_count: int
    next_poll_at: datetime | None
    unapproved: bool

    @property
    def placed_since(self) -> datetime:
        """Return the time at or after which the order was placed, if it was."""
        return self.lookup_since or self.called_at or self.created_at

    def __post_init__(self) -> None:
        object.__setattr__(self, "result", self.result or {})  # null in the table until there is one


async def open_publishers_of(db: Database) -> list[str]:
    """Return the names of the publishers of all publications that have not ended."""
    return [row["provider"] for row in await db.fetch_all(sql["open_publishers"])]


@dataclass(eq=False)
class Orders:
    """Reads orders and schedules their polls. Nothing here spends."""

    db: Database

    async def reschedule_poll(self, key: str, after: timedelta, progress: float | None = None) -> None:
        """Postpone the next poll of an open order, and save its progress (0..1)."""
        values = {"key": key, "after": after, "progress": progress}
        if progress is None:
            await self.db.execute(sql["postpone"], values)
            return
        payload = {"kind": OrderKey.parse(key).kind, "progress": round(progress, 2)}
        event = event_values("ledger", "order.progress", payload, subject=key)
        await self.db.change(with_event(SQL(sql["postpone"])), {**values, **event})

    async def mark_not_found(self, key: str) -> None:
        """Record that the provider does not know the order at present."""
        await self.db.execute("update orders set missing_since = coalesce(missing_since, now()) where key = %s", (key,))

    async def record_facts(self, key: str, facts: Mapping[str, Any]) -> None:
        """Record what the provider says about an open order before its outcome is known."""
        await self.db.execute("update orders set result = %s where key = %s and settled_at is null", (dict(facts), key))

    async def mark_file_missing(self, key: str) -> None:
        """Record that the provider has finished the order and does not serve its file at present."""
        await self.db.execute(sql["mark_file_missing"], (key,))

    async def mark_found(self, key: str) -> None:
        """Record that the provider works on the order; its outcome is no longer unknown."""
        await self.db.execute(sql["mark_found"], (key,))

    async def find_by_task(self, provider: str, task_id: str) -> OrderRow | None:
        """Return the order that the provider knows as `task_id`, or None."""
        return await self.db.fetch_one(sql["by_task"], (provider, task_id), row=OrderRow)

    async def get(self, key: str) -> OrderRow | None:
        """Return the order of this key, or None."""
        return await self.db.fetch_one("select * from orders where key = %s", (key,), row=OrderRow)

    async def unbound(self, provider: str, task_ids: Sequence[str]) -> list[str]:
        """Return those of the provider's ids that belong to no order, in the given order."""
        rows = await self.db.fetch_all(sql["bound"], (provider, list(task_ids)))
        bound = {row["task_id"] for row in rows}
        return [task_id for task_id in task_ids if task_id not in bound]

    async def report_duplicates(self, key: str, task_ids: Sequence[str]) -> None:
        """Record, once per task, that the provider fulfilled an order more than once and charges for it."""
        async with self.db.transaction() as conn:
            [row] = await fetch_all(conn, "select run_id, provider from orders where key = %s", (key,))
            for task_id in task_ids:
                payload, event_id = {"task_id": task_id}, f"duplicate:{row['provider']}:{task_id}"
                await record_event(
                    conn, "ledger", "charge.duplicate", row["run_id"], payload, subject=key, dedup_key=event_id
                )

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        """Return the states of these orders by key. See `graph.dependencies.Ledger`."""
        rows = await self.db.fetch_all("select * from orders where key = any(%s)", (list(keys),), row=OrderRow)
        return {row.key: row for row in rows}

    async def list_for_run(self, run_id: UUID | str) -> list[OrderRow]:
        """Return the orders of a run, oldest first."""
        return await self.db.fetch_all(sql["of_run"], (run_id,), row=OrderRow)

    async def claim_due(
        self, limit: int, *, renders: bool, only: list[str] | None = None, without: Sequence[str] = ()
    ) -> list[str]:
        """Return the keys of orders to poll now, either renders or others, and postpone their next poll.

        `only` are the ids of runs, `without` the keys of orders that this process does not take.
        """
        values = {"limit": limit, "only": only, "renders": renders, "without": list(without)}
        rows = await self.db.fetch_all(sql["claim_due"], values)
        return [str(row["key"]) for row in rows]
