"""The sums of reserved and spent amounts, kept by a trigger on `orders`."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from storage.database import Connection, Database, fetch_all, read_statements

sql = read_statements("spending")
OF_RUN = sql["of_run"]


@dataclass(frozen=True)
class Costs:
    """Costs of orders: reserved and not settled, and spent, in USD."""

    reserved_usd: Decimal
    spent_usd: Decimal


async def day_costs(db: Database) -> Costs:
    """Return the costs of the orders created since midnight (UTC)."""
    [row] = await db.fetch_all(sql["of_today"], row=Costs)
    return row


async def lock_spending(conn: Connection, run_id: UUID | str | None, *, orders: Sequence[str] = ()) -> None:
    """Lock the run and the sums that an order of it counts in; without a run, those of the chat.

    Orders that exist already, given by their keys, are locked before: a change of their amounts locks them first too.
    """
    if orders:
        await conn.execute("select from orders where key = any(%s) order by key for update", (list(orders),))
    await conn.execute(sql["lock"], {"run_id": run_id})


async def committed(conn: Connection, run_id: UUID | str | None) -> dict[str, Decimal]:
    """Return what is reserved and spent, in USD, by scope: `run`, `project` (today), `day`, `unapproved` (today)."""
    return {row["scope"]: row["usd"] for row in await fetch_all(conn, sql["committed"], {"run_id": run_id})}


async def verify_spending(db: Database) -> list[str]:
    """Return one sentence for each sum that differs from its orders."""
    return [
        f"The sum of {row['scope']} {row['name'] or row['day']} is {row['kept_usd']:.4f} USD;"
        f" its orders are {row['counted_usd']:.4f} USD."
        for row in await db.fetch_all(sql["differences"])
    ]
