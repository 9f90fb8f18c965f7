"""What a day costs."""

from __future__ import annotations

from decimal import Decimal
from typing import TypedDict

from storage.database import Database


class DayCosts(TypedDict):
    """What the orders of a day come to, in USD."""

    reserved: Decimal
    spent: Decimal


async def day_costs(db: Database) -> DayCosts:
    """What was ordered since midnight (UTC): reserved and not settled, and spent."""
    row = await db.fetch_one(
        """select coalesce(sum(amount_usd) filter (where state in ('reserved', 'submitted', 'unknown')), 0) as reserved,
                  coalesce(sum(spent_usd), 0) as spent
        from orders where created_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc'"""
    )
    return (
        DayCosts(reserved=row["reserved"], spent=row["spent"])
        if row
        else DayCosts(reserved=Decimal(0), spent=Decimal(0))
    )
