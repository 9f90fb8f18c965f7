"""Costs by day, project and provider, from the rows of the ledger."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import LiteralString

from pydantic import BaseModel

from storage.admission import CapRoom, Caps
from storage.database import Database


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """Costs in USD of the orders of a day (UTC), a project, a provider, or all; the other two are then null.

    The project of the chat is null too. `seconds_bought` are those of the clips that were generated or charged, and
    `seconds_published` those of the films, each counted by the first order that posted it.
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


# By `grouping`, whose bits are 1 for the columns day, project, provider that a row is not grouped by.
LEVELS = {7: "total", 3: "days", 2: "days_by_provider", 5: "projects", 6: "providers"}
POSTED: LiteralString = "kind = 'publication' and (state = 'settled' or result -> 'platforms' <> '{}')"
COSTS: LiteralString = f"""
with counted as (
    select (created_at at time zone 'utc')::date as day, (select project from runs where id = run_id) as project,
        provider, coalesce(spent_usd, 0) as spent_usd, reserved_usd_of(orders) as reserved_usd,
        case when kind = 'clip' and (state = 'settled' or result ? 'charged')
            then (request ->> 'seconds')::numeric end as seconds_bought,
        case when {POSTED} and not exists (select from orders as earlier
                where run_id = orders.run_id and created_at < orders.created_at and {POSTED})
            then (select artifacts #>> '{{final_video,seconds}}' from runs where id = run_id)::numeric
            end as seconds_published
    from orders
    where created_at >= %(first)s::date::timestamp at time zone 'utc'
        and created_at < (%(last)s::date + 1)::timestamp at time zone 'utc'
)
select grouping(day, project, provider) as level, day, project, provider,
    round(coalesce(sum(spent_usd), 0), 4)::float8 as spent_usd,
    round(coalesce(sum(reserved_usd), 0), 4)::float8 as reserved_usd,
    coalesce(sum(seconds_bought), 0)::float8 as seconds_bought,
    coalesce(sum(seconds_published), 0)::float8 as seconds_published
from counted where %(project)s::text is null or project = %(project)s
group by grouping sets ((day), (day, provider), (project), (provider), ())
order by day, sum(spent_usd + reserved_usd) desc, project, provider
"""  # noqa: S608 - constants


async def sum_costs(db: Database, first: date, last: date, project: str | None = None) -> CostRows:
    """Return the costs of the orders that were created from the first to the last day (UTC), of one or all projects."""
    levels: dict[str, list[CostRow]] = {name: [] for name in LEVELS.values()}
    for row in await db.fetch_all(COSTS, {"first": first, "last": last, "project": project}):
        levels[LEVELS[row.pop("level")]].append(CostRow(**row))
    [total] = levels.pop("total")
    return CostRows(total=total, **levels)


async def list_cap_rooms(db: Database, caps: Caps) -> list[CapRoom]:
    """Return the caps of today (UTC), and what is spent or reserved of each."""
    rows = await db.fetch_all(
        "select scope, name, reserved_usd + spent_usd as usd from spending where day = (now() at time zone 'utc')::date"
    )
    used = {row["name"]: row["usd"] for row in rows if row["scope"] != "unapproved"}
    limits = {"": caps.day_usd, **caps.project_day_usd}
    return [CapRoom(name or "all projects", usd, used.get(name, Decimal(0))) for name, usd in limits.items()]
