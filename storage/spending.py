"""The sums of reserved and spent amounts, kept by a trigger on `orders`."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

from storage.database import Connection, Database, fetch_all

# Opens the sums and locks them until the end of the transaction, always in the same order and after the run: a change
# of an order counts in the sums at the end of its statement, which has numbered an event of the run by then.
LOCK = """
with run as (select from runs where id = %(run_id)s for no key update)
insert into spending (scope, name, day)
select scope, name, day from (select count(*) from run) as locked cross join spending_keys(%(run_id)s, now(), true)
order by lock_order
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


async def lock_spending(conn: Connection, run_id: UUID | str | None, *, orders: Sequence[str] = ()) -> None:
    """Lock the run and the sums that an order of it counts in; without a run, those of the chat.

    Orders that exist already, given by their keys, are locked before: a change of their amounts locks them first too.
    """
    if orders:
        await conn.execute("select from orders where key = any(%s) order by key for update", (list(orders),))
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
