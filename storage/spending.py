"""The sums of reserved and spent amounts, kept by a trigger on `orders`."""

from dataclasses import dataclass
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

from storage.database import Connection, Database, fetch_all

# Opens the sums and locks them until the end of the transaction, always in the same order.
LOCK = """
insert into spending (scope, name, day)
select scope, name, day from spending_keys(%(run_id)s, now(), true) order by lock_order
on conflict (scope, name, day) do update set reserved_usd = spending.reserved_usd
"""
COMMITTED = """
select scope, coalesce(reserved_usd + spent_usd, 0) as usd
from spending_keys(%(run_id)s, now(), true) left join spending using (scope, name, day)
"""
DIFFERENCES = """
select scope, name, day::text as day, coalesce(kept.reserved_usd + kept.spent_usd, 0) as kept_usd,
       coalesce(counted.reserved_usd + counted.spent_usd, 0) as counted_usd
from spending as kept full join spending_of_orders as counted using (scope, name, day)
where (coalesce(kept.reserved_usd, 0), coalesce(kept.spent_usd, 0))
      is distinct from (coalesce(counted.reserved_usd, 0), coalesce(counted.spent_usd, 0))
order by scope, name, day
"""


@dataclass(frozen=True)
class Costs:
    """Costs of orders: reserved and not settled, and spent, in USD."""

    reserved_usd: Decimal
    spent_usd: Decimal


SUMS: LiteralString = """
select coalesce(sum(reserved_usd), 0) as reserved_usd, coalesce(sum(spent_usd), 0) as spent_usd from spending
"""
OF_RUN: LiteralString = f"{SUMS} where scope = 'run' and name ="
OF_TODAY: LiteralString = f"{SUMS} where scope = 'day' and day = (now() at time zone 'utc')::date"


async def day_costs(db: Database) -> Costs:
    """Return the costs of the orders created since midnight (UTC)."""
    [row] = await db.fetch_all(OF_TODAY, row=Costs)
    return row


async def run_costs(db: Database, run_id: UUID | str) -> Costs:
    """Return the costs of the orders of a run."""
    [row] = await db.fetch_all(f"{OF_RUN} %s", (str(run_id),), row=Costs)
    return row


async def lock_spending(conn: Connection, run_id: UUID | str | None, *, order: str | None = None) -> None:
    """Lock the sums that an order of this run counts in; without a run, those of the chat.

    An order that exists already, given by its key, is locked before them: a change of its amount locks it first too.
    """
    if order is not None:
        await conn.execute("select from orders where key = %s for update", (order,))
    await conn.execute(LOCK, {"run_id": run_id})


async def committed(conn: Connection, run_id: UUID | str | None) -> dict[str, Decimal]:
    """Return what is reserved and spent, in USD, by scope: `run`, `project` (today), `day`, `unapproved` (today)."""
    return {row["scope"]: row["usd"] for row in await fetch_all(conn, COMMITTED, {"run_id": run_id})}


async def verify_spending(db: Database) -> list[str]:
    """Return one sentence for each sum that differs from its orders."""
    return [
        f"The sum of {row['scope']} {row['name'] or row['day']} is {row['kept_usd']:.4f} USD;"
        f" its orders are {row['counted_usd']:.4f} USD."
        for row in await db.fetch_all(DIFFERENCES)
    ]
