"""Costs by day, project and provider, from the sums that a trigger on `orders` keeps."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pydantic import BaseModel

from storage.admission import CapRoom, Caps
from storage.database import Database, read_statements


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """Costs in USD of the orders of a day (UTC), a project, a provider, or all; the other two are then null.

    The project of the chat is null too. `seconds_bought` are those of the clips that were generated or charged, and
    `seconds_published` those of the films, each counted with the first of its orders that posted it.
    """

    day: date | None
    project: str | None
    provider: str | None
    spent_usd: float
    reserved_usd: float
    seconds_bought: float
    seconds_published: float


class CostRows(BaseModel):
    """The sum of a range of days; the days, also by provider; the projects and the providers, the most costly first."""

    total: CostRow
    days: list[CostRow]
    days_by_provider: list[CostRow]
    projects: list[CostRow]
    providers: list[CostRow]


# By the number of the statement.
LEVELS = {7: "total", 3: "days", 2: "days_by_provider", 5: "projects", 6: "providers"}
sql = read_statements("costs")


async def sum_costs(db: Database, first: date, last: date, project: str | None = None) -> CostRows:
    """Return the costs of the orders that were created from the first to the last day (UTC), of one or all projects."""
    levels: dict[str, list[CostRow]] = {name: [] for name in LEVELS.values()}
    for row in await db.fetch_all(sql["costs"], {"first": first, "last": last, "project": project}):
        levels[LEVELS[row.pop("level")]].append(CostRow(**row))
    [total] = levels.pop("total")
    return CostRows(total=total, **levels)


async def list_cap_rooms(db: Database, caps: Caps) -> list[CapRoom]:
    """Return the caps of today (UTC), and what is spent or reserved of each."""
    rows = await db.fetch_all(sql["today"])
    used = {row["name"]: row["usd"] for row in rows if row["scope"] != "unapproved"}
    limits = {"": caps.day_usd, **caps.project_day_usd}
    return [CapRoom(name or "all projects", usd, used.get(name, Decimal(0))) for name, usd in limits.items()]
